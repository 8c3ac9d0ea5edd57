//! What the node agent reads below `/proc`: any bytes as `cgroup`, or as `stat` and `status`, split at the first NUL.

#![no_main]

#[path = "../../agent/src/cgroup.rs"]
mod cgroup;
#[allow(dead_code, reason = "the target reads less of it than the agent")]
#[path = "../../agent/src/sampler/process_sample.rs"]
mod process_sample;
#[allow(dead_code, reason = "the target reads less of it than the agent")]
#[path = "../../agent/src/sampler/reading.rs"]
mod reading;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use libfuzzer_sys::fuzz_target;
use procfs::process::Process;

use crate::{
    cgroup::{Container, container},
    reading::{Reading, Units},
};

const PID: i32 = 42;
const IN_POD: &str = "0::/kubepods/pod0a1b2c3d-1111-2222-3333-444455556666/3f1c4b0a9d8e7f6a5b4c3d2e1f00112233445566778899aabbccddeeff001122\n";

/// The folder of a process.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("jobwarden-fuzz-{}", std::process::id())).join(PID.to_string());
    fs::create_dir_all(&folder).expect("a place for files");
    folder
});

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    if first.is_ascii_digit() { sample(data) } else { cgroups(rest) }
});

fn cgroups(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some(Container { pod, id }) = container(&text) else { return };
    let (pod, id) = (pod.as_str(), id.to_string());
    assert!(matches!(pod.len(), 32 | 36) && pod.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'), "{pod}");
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert!(text.contains(&id) && text.replace('_', "-").contains(pod), "{pod} and {id} are not in {text}");
}

/// Two samples of one process: with these files, and again with the same.
fn sample(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (stat, status) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    for (name, content) in [("stat", stat), ("status", status)] {
        fs::write(FOLDER.join(name), content).expect("a file");
    }
    let process = Process::new_with_root(FOLDER.clone()).expect("the folder of a process");
    let units = Units::of_this_kernel();
    let Ok(first) = Reading::of(&process, None, &units) else { return };
    let second = Reading::of(&process, Some(first), &units).expect("the same files");

    let container = Arc::new(container(IN_POD).expect("the cgroup of a container"));
    for reading in [first, second] {
        let sample = reading.sample(PID, &container);
        assert!(!sample.alive || sample.hwm_bytes >= sample.rss_bytes, "a peak below what is used: {sample:?}");
    }
}
