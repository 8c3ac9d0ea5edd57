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

/// The figure in a line of the worker.
fn high_water_mark_kib(printed: &str) -> u64 {
    let figure = printed.split_once("VmHWM ").and_then(|(_, rest)| rest.split_once(" KiB"));
    figure.expect("the worker prints its VmHWM").0.parse().expect("a number")
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().expect("a PID")), signal).expect("the process is a child");
}

#[test]
fn touched_memory_is_resident() {
    let (mut child, mut stdout) = worker(&["--touch=8Mi", "--exit=3"]);
    assert!(high_water_mark_kib(&line(&mut stdout)) >= 8 * 1024);
    assert_eq!(child.wait().expect("the worker exits").code(), Some(3));
}

#[test]
fn it_grows_when_its_time_is_over() {
    let (mut child, mut stdout) = worker(&["--touch=1Mi", "--for=10ms", "--grow=16Mi"]);
    assert!(high_water_mark_kib(&line(&mut stdout)) < 16 * 1024);
    assert!(high_water_mark_kib(&line(&mut stdout)) >= 17 * 1024);
    assert_eq!(child.wait().expect("the worker exits").code(), Some(0));
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
