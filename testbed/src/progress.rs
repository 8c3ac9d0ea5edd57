//! One line on stderr for each step that takes a while: `==> building Kubernetes … 3m20s`.
//!
//! On a terminal the line is updated in place. In CI logs it is repeated every half minute, so that a long build does not
//! look like a hung one.

use std::io::{IsTerminal, Write, stderr};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The time between two repetitions of a line that cannot be updated.
const REPEAT_IN_LOGS: Duration = Duration::from_secs(30);

/// The time between two updates of a line on a terminal.
const REFRESH: Duration = Duration::from_millis(500);

/// A step in progress. Dropping it ends the step and prints the final time.
pub struct Step {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

struct Shared {
    name: String,
    started: Instant,
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default)]
struct State {
    detail: String,
    ended: bool,
}

/// Starts a step called `name` and shows its duration until the returned [`Step`] is dropped.
pub fn step(name: impl Into<String>) -> Step {
    let shared =
        Arc::new(Shared { name: name.into(), started: Instant::now(), state: Mutex::default(), woken: Condvar::new() });
    let ticking = Arc::clone(&shared);
    let ticker = std::thread::spawn(move || ticking.tick());
    Step { shared, ticker: Some(ticker) }
}

/// Prints one line.
pub fn note(line: impl AsRef<str>) {
    write(&format!("    {}\n", line.as_ref()));
}

impl Step {
    /// Replaces the text after the step's name, such as a count.
    pub fn detail(&self, detail: impl Into<String>) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).detail = detail.into();
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.shared.woken.notify_all();
        if let Some(ticker) = self.ticker.take() {
            // The ticker only writes to stderr: there is nothing to clean up after a panic.
            let _ = ticker.join();
        }
    }
}

impl Shared {
    fn tick(&self) {
        let terminal = stderr().is_terminal();
        let pause = if terminal { REFRESH } else { REPEAT_IN_LOGS };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !terminal {
            write(&format!("==> {}\n", self.name));
        }
        while !state.ended {
            if terminal {
                write(&format!("\r\x1b[2K{}", self.line(&state)));
            }
            let (next, timeout) =
                self.woken.wait_timeout_while(state, pause, |s| !s.ended).unwrap_or_else(PoisonError::into_inner);
            state = next;
            if timeout.timed_out() && !terminal {
                write(&format!("{}\n", self.line(&state)));
            }
        }
        let lead = if terminal { "\r\x1b[2K" } else { "" };
        write(&format!("{lead}{}\n", self.line(&state)));
    }

    fn line(&self, state: &State) -> String {
        let separator = if state.detail.is_empty() { "" } else { ": " };
        format!("==> {}{separator}{} … {}", self.name, state.detail, duration(self.started.elapsed()))
    }
}

/// `0.4s`, `12s` or `3m20s`.
pub fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", length.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        _ => format!("{}m{:02}s", seconds / 60, seconds % 60),
    }
}

fn write(text: &str) {
    // A closed stderr must not fail the work.
    let _ = stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_and_readable() {
        for (millis, text) in [(400, "0.4s"), (12_300, "12s"), (200_000, "3m20s"), (3_605_000, "60m05s")] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }
}
