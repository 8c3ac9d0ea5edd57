//! What the tests unpack once, in the target folder.

use std::{path::PathBuf, process::Command};

use crate::process::output;

/// The version of Artemis that is tested. ORT Server names none.
const ARTEMIS: &str = "2.40.0";

/// The programs of Apache Artemis, unpacked.
pub(crate) fn artemis() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("artemis");
    let home = folder.join(format!("apache-artemis-{ARTEMIS}"));
    let unpacked = home.join("unpacked");
    if !unpacked.exists() {
        let artifact = format!("-Dartifact=org.apache.activemq:apache-artemis:{ARTEMIS}:tar.gz:bin");
        let to = format!("-DoutputDirectory={}", folder.display());
        output(Command::new("mvn").args(["-q", "-B", "dependency:copy", &artifact, &to]));
        let archive = folder.join(format!("apache-artemis-{ARTEMIS}-bin.tar.gz"));
        output(Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(&folder));
        std::fs::write(unpacked, "").expect("written");
    }
    home
}
