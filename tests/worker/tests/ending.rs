//! Claims about the worker as a process.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn worker(arguments: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_jobwarden-worker"))
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the worker starts");
    let stdout = child.stdout.take().expect("it is piped");
    (child, BufReader::new(stdout))
}

fn line(stdout: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("UTF-8");
    line
}

fn terminate(child: &Child) {
    kill(Pid::from_raw(child.id().try_into().expect("a PID")), Signal::SIGTERM).expect("it is ours");
}

#[test]
fn what_it_says_it_touched_is_resident() {
    let (mut child, mut stdout) = worker(&["--touch=8Mi", "--exit=3"]);
    let said = line(&mut stdout);
    let kib = said.split_once("VmHWM ").and_then(|(_, rest)| rest.split_once(" KiB")).expect("it says so").0;
    assert!(kib.parse::<u64>().expect("a number") >= 8 * 1024, "{said}");
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
}

#[test]
fn sigterm_ends_it_at_once_with_143() {
    let (mut child, mut stdout) = worker(&["--for=1h", "--children=2"]);
    line(&mut stdout);
    terminate(&child);
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
}

#[test]
fn told_to_ignore_sigterm_it_works_on() {
    let folder = std::env::temp_dir().join(format!("jobwarden-worker-{}", std::process::id()));
    let (mut child, mut stdout) = worker(&["--ignore-term", &format!("--until-file={}", folder.display())]);
    line(&mut stdout);
    terminate(&child);
    assert_eq!(line(&mut stdout), "SIGTERM ignored\n");
    std::fs::create_dir(&folder).expect("the temporary directory is writable");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    std::fs::remove_dir(&folder).expect("it is empty");
}
