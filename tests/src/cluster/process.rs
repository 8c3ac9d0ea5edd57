//! Processes as /proc shows them.
//!
//! A process ID alone says nothing once its process has ended, since the kernel hands it out again. So a process is
//! always named by its ID together with the time it started.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::error::{ClusterError, Result};

/// Clock ticks a second as `/proc` counts them, on every architecture: `USER_HZ`, time(7).
const TICKS: u64 = 100;

/// How often to look whether a process has ended.
const POLL: Duration = Duration::from_millis(5);

/// How long a process that was killed may take to end.
const DEATH: Duration = Duration::from_secs(10);

/// A process, and not another one that got the same ID later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The ID on the host.
    pub(super) pid: i32,
    /// When it started, in clock ticks since boot: field 22 of `proc_pid_stat(5)`.
    pub(super) started: u64,
}

/// What identifies a namespace: the device and inode of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamespaceId(u64, u64);

impl NamespaceId {
    /// The namespace that `path` refers to, such as `/run/netns/x` or `/proc/1/ns/pid`.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self(metadata.dev(), metadata.ino()))
    }
}

impl Process {
    /// The process that has this ID now.
    pub(super) fn current(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        (stat.state != 'Z').then_some(Self { pid, started: stat.started })
    }

    /// Whether it runs on; a zombie does not.
    pub fn is_alive(self) -> bool {
        Self::current(self.pid) == Some(self)
    }

    /// How long ago it started; nothing once it has ended.
    pub fn age(self) -> Option<Duration> {
        let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
        let started = Duration::from_millis(1000 / TICKS * self.started);
        self.is_alive().then(|| Duration::from_secs_f64(uptime).saturating_sub(started))
    }

    /// Sends a signal; a process that has ended meanwhile is no error.
    pub fn signal(self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(errno) => Err(ClusterError::Io {
                doing: format!("sending {signal} to process {}", self.pid),
                source: errno.into(),
            }),
        }
    }

    /// Kills the process and waits for its end.
    pub(super) fn kill(self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(DEATH)
    }

    /// Waits until the process has ended.
    pub(super) fn wait(self, most: Duration) -> Result<()> {
        let begun = Instant::now();
        while self.is_alive() {
            if begun.elapsed() > most {
                return Err(ClusterError::TimedOut {
                    what: format!("process {} ({}) still runs", self.pid, arguments(self.pid).join(" ")),
                    waited: most,
                    tail: String::new(),
                });
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// The namespace of the kind `kind` (`net`, `pid`) that the process is in.
    pub(super) fn namespace(self, kind: &str) -> Option<NamespaceId> {
        NamespaceId::of(Path::new(&format!("/proc/{}/ns/{kind}", self.pid)))
    }

    /// The process that started it, or that took it over.
    pub(super) fn parent(self) -> Option<Self> {
        Self::current(Stat::read(self.pid)?.parent)
    }

    /// The processes that it started and that still run.
    pub(super) fn children(self) -> Vec<Self> {
        all()
            .into_iter()
            .filter(|process| Stat::read(process.pid).is_some_and(|stat| stat.parent == self.pid))
            .collect()
    }
}

/// Every process of the machine except this one.
pub(super) fn all() -> Vec<Process> {
    let own = i32::try_from(std::process::id()).ok();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| Some(*pid) != own)
        .filter_map(Process::current)
        .collect()
}

/// The command line of a process, empty when it has ended.
pub(super) fn arguments(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|b| *b == 0).filter(|a| !a.is_empty()).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
}

/// The fields of `proc_pid_stat(5)` that matter here.
struct Stat {
    state: char,
    parent: i32,
    started: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field, the name of the program, may hold blanks and parentheses: what counts begins after the last.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 9 9";
        let stat = Stat::parse(text).expect("the line has all fields");
        assert_eq!((stat.state, stat.parent, stat.started), ('S', 7, 12345));
    }

    #[test]
    fn a_process_that_started_at_another_time_is_another_process() {
        let own = i32::try_from(std::process::id()).expect("process IDs fit");
        let process = Process::current(own).expect("this process runs");
        assert!(process.is_alive());
        assert!(!Process { started: process.started + 1, ..process }.is_alive());
    }
}
