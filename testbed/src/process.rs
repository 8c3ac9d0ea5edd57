//! Processes in /proc.
//!
//! The kernel reuses the ID of a process that has ended. So a process is identified by its ID together with its start time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{ClusterError, Result};

/// Clock ticks per second in `/proc`, on every architecture: `USER_HZ`, time(7).
const TICKS: u64 = 100;

/// The time between two checks whether a process has ended.
const POLL: Duration = Duration::from_millis(5);

/// How long a killed process may take to end.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A process. A later process with the same ID is not equal to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The ID on the host.
    pub(crate) pid: i32,
    /// When it started, in clock ticks since boot: field 22 of `proc_pid_stat(5)`.
    pub(crate) started: u64,
}

/// The identity of a namespace: the device and inode of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NamespaceId(u64, u64);

impl NamespaceId {
    /// The namespace that `path` refers to, such as `/run/netns/x` or `/proc/1/ns/pid`.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self(metadata.dev(), metadata.ino()))
    }
}

impl Process {
    /// The process that has this ID now.
    pub(crate) fn current(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        stat.is_alive().then_some(Self { pid, started: stat.started })
    }

    /// Whether the process is running. A zombie is not, once all of its threads have ended.
    pub fn is_alive(self) -> bool {
        Self::current(self.pid) == Some(self)
    }

    /// The time since its start, or `None` once it has ended.
    pub fn age(self) -> Option<Duration> {
        let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
        let started = Duration::from_millis(1000 / TICKS * self.started);
        self.is_alive().then(|| Duration::from_secs_f64(uptime).saturating_sub(started))
    }

    /// Sends a signal. It is no error if the process has ended.
    pub fn signal(self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(errno) => Err(ClusterError::Io {
                action: format!("sending {signal} to process {}", self.pid),
                source: errno.into(),
            }),
        }
    }

    /// Kills the process and waits for its end.
    pub(crate) fn kill(self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(EXIT_TIMEOUT)
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(self, timeout: Duration) -> Result<()> {
        let start = Instant::now();
        while self.is_alive() {
            if start.elapsed() > timeout {
                return Err(ClusterError::TimedOut {
                    problem: format!("process {} ({}) is still running", self.pid, arguments(self.pid).join(" ")),
                    waited: timeout,
                    tail: String::new(),
                });
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// The namespace of the kind `kind` (`net`, `pid`) that the process is in.
    pub(crate) fn namespace(self, kind: &str) -> Option<NamespaceId> {
        NamespaceId::of(Path::new(&format!("/proc/{}/ns/{kind}", self.pid)))
    }

    /// Its parent process.
    pub(crate) fn parent(self) -> Option<Self> {
        Self::current(Stat::read(self.pid)?.parent)
    }

    /// Its running child processes.
    pub(crate) fn children(self) -> Vec<Self> {
        all()
            .into_iter()
            .filter(|process| Stat::read(process.pid).is_some_and(|stat| stat.parent == self.pid))
            .collect()
    }
}

/// All processes of the machine except this one.
pub(crate) fn all() -> Vec<Process> {
    let own = i32::try_from(std::process::id()).ok();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| Some(*pid) != own)
        .filter_map(Process::current)
        .collect()
}

/// The command line of a process, empty if it has ended.
pub(crate) fn arguments(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|b| *b == 0).filter(|a| !a.is_empty()).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
}

/// The fields of `proc_pid_stat(5)` that are used here.
struct Stat {
    state: char,
    parent: i32,
    threads: u64,
    started: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field, the program's name, may contain spaces and parentheses, so the rest starts after the last `)`.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            threads: fields.get(17)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// A zombie with other threads has only lost its main thread: it still holds its files, a listening port among them.
    fn is_alive(&self) -> bool {
        self.state != 'Z' || self.threads > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 9 9";
        let stat = Stat::parse(text).expect("the line has all fields");
        assert_eq!((stat.state, stat.parent, stat.threads, stat.started), ('S', 7, 1, 12345));
    }

    #[test]
    fn a_zombie_is_alive_until_its_last_thread_has_ended() {
        let is_alive = |state, threads| Stat { state, parent: 1, threads, started: 1 }.is_alive();
        assert!(is_alive('S', 1) && is_alive('Z', 2));
        assert!(!is_alive('Z', 1));
    }

    #[test]
    fn a_process_that_started_at_another_time_is_another_process() {
        let own = i32::try_from(std::process::id()).expect("process IDs fit");
        let process = Process::current(own).expect("this process runs");
        assert!(process.is_alive());
        assert!(!Process { started: process.started + 1, ..process }.is_alive());
    }
}
