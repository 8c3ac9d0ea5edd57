//! The tests of sinks with real brokers and with the official libraries of receivers.

use anyhow::Context as _;
use jobwarden_testbed::progress;

use crate::command::{cargo, text_of};

/// What they run, with the Debian packages.
const PROGRAMS: [(&str, &str); 4] = [
    ("java", "default-jre-headless"),
    ("mvn", "maven"),
    ("rabbitmq-server", "rabbitmq-server"),
    ("python3", "python3"),
];

/// Test binaries and the tests in them that are run. Each starts servers with ports and data of their own, one test at a time.
const TESTS: [&[&str]; 2] = [&["--test", "brokers"], &["--lib", "http::tests::examples"]];

/// Installs the programs that are missing.
pub(super) fn ensure_programs() -> anyhow::Result<()> {
    Ok(jobwarden_testbed::ensure_programs(&PROGRAMS)?)
}

/// Runs the tests, and prints the output of each test binary when it has ended, because other work prints meanwhile.
pub(super) fn run() -> anyhow::Result<()> {
    for selected in TESTS {
        let mut command = cargo();
        command.args(["test", "--locked", "--package", "jobwarden-reaper"]).args(selected);
        command.args(["--", "--ignored", "--test-threads=1"]);
        let output = command.output().with_context(|| format!("starting `{}`", text_of(&command)))?;
        progress::note(format!("`{}`:", text_of(&command)));
        print!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        anyhow::ensure!(output.status.success(), "`{}` failed ({})", text_of(&command), output.status);
    }
    Ok(())
}
