//! One look at every process of the node.
//!
//! Most processes of a node belong to no pod, and most of a pod's sleep. So what is known of a process is kept from look to
//! look, and per look there is read: of a process outside pods nothing; of one inside `stat`; `status` too if it has had
//! page faults since, for without one its memory cannot have grown.

mod reading;

use std::{
    collections::{HashMap, hash_map::Entry},
    fs, io,
    os::unix::fs::DirEntryExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use procfs::{ProcError, process::Process};

use self::reading::{Reading, Units};
use crate::cgroup::{self, Container};

/// The longest pause, in samples, between two looks at the cgroup of a process outside pods.
const LONGEST_PAUSE: u64 = 32;

/// What one look has shown.
#[derive(Debug, Default)]
pub struct Sample {
    /// The processes of pods.
    pub processes: Vec<Sighting>,
    /// Processes there were in all.
    pub visited: usize,
    /// Processes of which something could not be read although they are there.
    pub unreadable: usize,
}

/// One process of a pod, in one sample.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Whose it is.
    pub container: Arc<Container>,
    /// Which it is.
    pub process: ProcessKey,
    /// Whether it runs; a zombie does not.
    pub alive: bool,
    /// CPU time, user and system, in milliseconds.
    pub cpu_ms: u64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// The most resident memory it ever had (`VmHWM`), in bytes.
    pub hwm_bytes: u64,
}

/// A process, told apart from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the node did.
    pub started: u64,
}

/// The processes of the node cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {}", proc.display())]
pub struct SampleError {
    proc: PathBuf,
    source: io::Error,
}

/// Takes samples of one proc file system.
#[derive(Debug)]
pub struct Sampler {
    proc: PathBuf,
    units: Units,
    known: HashMap<i32, Known>,
    /// Counts samples.
    now: u64,
}

/// What is known of the process with some number.
#[derive(Debug)]
struct Known {
    /// Of its folder. A later process with the same number has another: procfs makes the inode anew for each.
    inode: u64,
    /// The last sample that has shown it.
    seen: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Of no pod, so far: a runtime starts a process in its own cgroup before it moves it, so one looks again, ever more
    /// rarely.
    Outside { looks_again: u64, pause: u64 },
    /// Of a pod.
    Inside { container: Arc<Container>, last: Option<Reading> },
}

impl Sampler {
    /// Of the file system at `proc`.
    pub fn new(proc: PathBuf) -> Self {
        Self { proc, units: Units::of_this_kernel(), known: HashMap::new(), now: 0 }
    }

    /// Looks at every process once.
    pub fn sample(&mut self) -> Result<Sample, SampleError> {
        self.now += 1;
        let mut sample = Sample::default();
        let failed = |proc: &Path| {
            let proc = proc.to_owned();
            move |source| SampleError { proc, source }
        };
        for entry in fs::read_dir(&self.proc).map_err(failed(&self.proc))? {
            let entry = entry.map_err(failed(&self.proc))?;
            if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                sample.visited += 1;
                self.visit(pid, entry.ino(), &mut sample);
            }
        }
        let now = self.now;
        self.known.retain(|_, known| known.seen == now);
        Ok(sample)
    }

    fn visit(&mut self, pid: i32, inode: u64, sample: &mut Sample) {
        let (now, proc, units) = (self.now, &self.proc, &self.units);
        let open = || Process::new_with_root(proc.join(pid.to_string()));
        let known = match self.known.entry(pid) {
            Entry::Occupied(known) if known.get().inode == inode => known.into_mut(),
            other => other.insert_entry(Known::stranger(inode, now)).into_mut(),
        };
        known.seen = now;

        if let What::Outside { looks_again, pause } = &mut known.what {
            if now < *looks_again {
                return;
            }
            let text = match open().and_then(|process| reading::cgroup(&process)) {
                Ok(text) => text,
                Err(ProcError::NotFound(_)) => return, // It has ended since it was listed.
                Err(error) => {
                    tracing::debug!(pid, %error, "cannot read the cgroup of a process");
                    sample.unreadable += 1;
                    return;
                }
            };
            let Some(container) = cgroup::container(&text) else {
                (*looks_again, *pause) = (now + *pause, (*pause * 2).min(LONGEST_PAUSE));
                return;
            };
            known.what = What::Inside { container: Arc::new(container), last: None };
        }
        if let What::Inside { container, last } = &mut known.what {
            match open().and_then(|process| Reading::of(&process, *last, units)) {
                Ok(reading) => *last = Some(reading),
                Err(ProcError::NotFound(_)) => return,
                Err(error) => {
                    // It is there, whatever else: for want of better, as it was.
                    tracing::debug!(pid, %error, "cannot read the figures of a process");
                    sample.unreadable += 1;
                }
            }
            sample.processes.push(last.unwrap_or_default().sighting(pid, container));
        }
    }
}

impl Known {
    fn stranger(inode: u64, now: u64) -> Self {
        Self { inode, seen: now, what: What::Outside { looks_again: now, pause: 1 } }
    }
}

#[cfg(test)]
mod tests;
