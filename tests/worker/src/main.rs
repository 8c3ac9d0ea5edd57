//! Plays a batch worker in tests and the demo: touches memory, lasts for a while, ends as told.

mod arguments;
mod crew;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use arguments::{Arguments, HELP, Lasting};
use crew::Crew;
use nix::sys::signal::{SigSet, Signal};

/// What a shell reports of a process that SIGTERM ended: 128 + 15.
const TERMINATED: u8 = 143;

/// How often a file that is waited for is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Memory is touched once in this many bytes: the smallest page there is.
const PAGE_BYTES: usize = 4096;

/// SIGTERM came.
struct Terminated;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        say(HELP);
        return ExitCode::SUCCESS;
    }
    let outcome = Arguments::parse(arguments).map_err(io::Error::other).and_then(|arguments| work(&arguments));
    outcome.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::from(2)
    })
}

fn work(arguments: &Arguments) -> io::Result<ExitCode> {
    let Arguments { touch_bytes, lasting, exit, ignore_term, children } = arguments;
    let terminated = watch_for_sigterm(*ignore_term)?;
    let crew = Crew::start(*children, *touch_bytes)?;
    let memory = touch(*touch_bytes);
    say(&format!("touched {touch_bytes} bytes, VmHWM {} KiB, children {children}", high_water_mark_kib()?));
    let end = last(lasting, &terminated);
    // Held until here, so that it stays resident.
    drop(memory);
    drop(crew);
    Ok(ExitCode::from(if end.is_some() { TERMINATED } else { *exit }))
}

/// Blocks SIGTERM, here and in every thread to come, and has one thread wait for it. Merely blocked, it does nothing at
/// all; with its default action it would do nothing to the first process of a container either (`pid_namespaces(7)`).
fn watch_for_sigterm(ignore: bool) -> io::Result<Receiver<Terminated>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || wait_for(signals, ignore, &sender));
    Ok(receiver)
}

fn wait_for(signals: SigSet, ignore: bool, sender: &Sender<Terminated>) {
    while signals.wait().is_ok() {
        if ignore {
            say("SIGTERM ignored");
        } else if sender.send(Terminated).is_err() {
            return;
        }
    }
}

/// Writes to every page of as much memory, so that the kernel has to provide it.
fn touch(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0_u8; bytes];
    for byte in memory.iter_mut().step_by(PAGE_BYTES) {
        *byte = 1;
    }
    std::hint::black_box(memory)
}

/// Waits for as long as `lasting` says, or for SIGTERM.
fn last(lasting: &Lasting, terminated: &Receiver<Terminated>) -> Option<Terminated> {
    match lasting {
        Lasting::For(time) => wait(terminated, *time),
        Lasting::UntilFile(path) => loop {
            if path.exists() {
                return None;
            }
            let end = wait(terminated, LOOK);
            if end.is_some() {
                return end;
            }
        },
    }
}

fn wait(terminated: &Receiver<Terminated>, time: Duration) -> Option<Terminated> {
    let started = Instant::now();
    match terminated.recv_timeout(time) {
        Ok(end) => Some(end),
        Err(RecvTimeoutError::Timeout) => None,
        // The thread that waits for signals cannot; time passes all the same.
        Err(RecvTimeoutError::Disconnected) => {
            thread::sleep(time.saturating_sub(started.elapsed()));
            None
        }
    }
}

/// The most memory this process ever had resident (`VmHWM`, proc(5)).
fn high_water_mark_kib() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let figure = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    figure.ok_or_else(|| io::Error::other("/proc/self/status has no VmHWM"))
}

/// Nobody reads a worker's words for certain, so a closed stdout does not stop it.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
