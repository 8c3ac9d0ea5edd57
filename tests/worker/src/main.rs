//! A batch worker for tests and the demo: touches memory, runs for a while and exits.

mod arguments;
mod children;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use arguments::{Arguments, HELP};
use children::Children;
use nix::sys::signal::{SigSet, Signal};

/// The exit status that a shell reports for a process ended by SIGTERM: 128 + 15.
const TERMINATED: u8 = 143;

/// One byte in this many is written: the smallest page size.
const PAGE_BYTES: usize = 4096;

/// Why the work ends early.
enum End {
    /// SIGTERM.
    Terminated,
    /// SIGUSR1: the work is done.
    Done,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        print(HELP);
        return ExitCode::SUCCESS;
    }
    let outcome = Arguments::parse(arguments).map_err(io::Error::other).and_then(|arguments| work(&arguments));
    outcome.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::from(2)
    })
}

fn work(arguments: &Arguments) -> io::Result<ExitCode> {
    let Arguments { touch_bytes, duration, grow_bytes, exit, ignore_term, children } = arguments;
    let ends = watch_for_signals(*ignore_term)?;
    let running = Children::start(*children, *touch_bytes)?;
    let memory = touch(*touch_bytes);
    print(&format!("touched {touch_bytes} bytes, VmHWM {} KiB, children {children}", high_water_mark_kib()?));
    let end = wait(&ends, *duration);
    let grown = touch(if end.is_none() { *grow_bytes } else { 0 });
    if !grown.is_empty() {
        print(&format!("touched {grow_bytes} bytes more, VmHWM {} KiB", high_water_mark_kib()?));
    }
    // Kept until here, so that it stays resident.
    drop((memory, grown));
    drop(running);
    Ok(ExitCode::from(match end {
        Some(End::Terminated) => TERMINATED,
        Some(End::Done) | None => *exit,
    }))
}

/// Blocks the signals that end the work in all threads, and waits for them in one thread. The default action would not do: it
/// does not end the first process of a container (`pid_namespaces(7)`).
fn watch_for_signals(ignore_term: bool) -> io::Result<Receiver<End>> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGUSR1].into_iter().collect();
    signals.thread_block()?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || wait_for(signals, ignore_term, &sender));
    Ok(receiver)
}

fn wait_for(signals: SigSet, ignore_term: bool, sender: &Sender<End>) {
    while let Ok(signal) = signals.wait() {
        let end = match signal {
            Signal::SIGUSR1 => End::Done,
            _ if ignore_term => {
                print("SIGTERM ignored");
                continue;
            }
            _ => End::Terminated,
        };
        if sender.send(end).is_err() {
            return;
        }
    }
}

/// Allocates memory and writes to every page, so that the kernel has to provide it.
fn touch(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0_u8; bytes];
    for byte in memory.iter_mut().step_by(PAGE_BYTES) {
        *byte = 1;
    }
    std::hint::black_box(memory)
}

/// Waits for this time, or until a signal ends the work.
fn wait(ends: &Receiver<End>, time: Duration) -> Option<End> {
    let started = Instant::now();
    match ends.recv_timeout(time) {
        Ok(end) => Some(end),
        Err(RecvTimeoutError::Timeout) => None,
        // The thread that waits for signals has failed. The time limit still applies.
        Err(RecvTimeoutError::Disconnected) => {
            thread::sleep(time.saturating_sub(started.elapsed()));
            None
        }
    }
}

/// The peak resident memory of this process (`VmHWM`, proc(5)).
fn high_water_mark_kib() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let figure = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    figure.ok_or_else(|| io::Error::other("/proc/self/status has no VmHWM"))
}

/// Prints a line. A closed stdout does not stop the worker.
fn print(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
