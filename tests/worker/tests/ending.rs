//! The worker as a process.

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
    let stdout = child.stdout.take().expect("stdout is a pipe");
    (child, BufReader::new(stdout))
}

fn line(stdout: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("UTF-8");
    line
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().expect("a PID")), signal).expect("the process is a child");
}

#[test]
fn touched_memory_is_resident() {
    let (mut child, mut stdout) = worker(&["--touch=8Mi", "--exit=3"]);
    let printed = line(&mut stdout);
    let kib = printed
        .split_once("VmHWM ")
        .and_then(|(_, rest)| rest.split_once(" KiB"))
        .expect("the worker prints its VmHWM")
        .0;
    assert!(kib.parse::<u64>().expect("a number") >= 8 * 1024, "{printed}");
    assert_eq!(child.wait().expect("the worker exits").code(), Some(3));
}

#[test]
fn sigterm_ends_it_with_143() {
    let (mut child, mut stdout) = worker(&["--for=1h", "--children=2"]);
    line(&mut stdout);
    send(&child, Signal::SIGTERM);
    assert_eq!(child.wait().expect("the worker exits").code(), Some(143));
}

#[test]
fn sigusr1_ends_it_with_the_given_exit_code() {
    let (mut child, mut stdout) = worker(&["--for=1h", "--exit=3"]);
    line(&mut stdout);
    send(&child, Signal::SIGUSR1);
    assert_eq!(child.wait().expect("the worker exits").code(), Some(3));
}

#[test]
fn with_ignore_term_it_survives_sigterm() {
    let (mut child, mut stdout) = worker(&["--ignore-term", "--for=1h"]);
    line(&mut stdout);
    send(&child, Signal::SIGTERM);
    assert_eq!(line(&mut stdout), "SIGTERM ignored\n");
    send(&child, Signal::SIGUSR1);
    assert_eq!(child.wait().expect("the worker exits").code(), Some(0));
}
