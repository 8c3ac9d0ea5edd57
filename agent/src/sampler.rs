//! Samples every process of the node.
//!
//! Most processes of a node belong to no pod, and most processes of pods sleep. So what is known of a process is kept between
//! samples, and a sample reads nothing of a process outside pods, and `stat` of a process of a pod; also `status` if the process
//! had page faults since the last sample, because its memory cannot have grown without one.

mod process_sample;
mod reading;

use std::{
    collections::{HashMap, hash_map::Entry},
    fs, io,
    os::unix::fs::DirEntryExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use procfs::{ProcError, process::Process};

pub use self::process_sample::{ProcessKey, ProcessSample};
use self::reading::{Reading, Units};
use crate::cgroup::{self, Container};

/// The longest pause, in samples, between two checks of the cgroup of a process outside pods.
const MAX_PAUSE: u64 = 32;

/// One sample of all processes.
#[derive(Debug, Default)]
pub struct Sample {
    /// The processes of pods.
    pub processes: Vec<ProcessSample>,
    /// Number of all processes.
    pub visited: usize,
    /// Number of processes that could not be read although they exist.
    pub unreadable: usize,
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

/// What is known of the process with some PID.
#[derive(Debug)]
struct Known {
    /// Inode of its directory. A later process with the same PID has another: procfs creates an inode for each process.
    inode: u64,
    /// The last sample that contained the process.
    seen: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Not in a pod so far. A runtime starts a process in its own cgroup before it moves it, so the cgroup is checked again, at
    /// increasing intervals.
    Outside { next_check: u64, pause: u64 },
    /// In a pod.
    Inside { container: Arc<Container>, last: Option<Reading> },
}

impl Sampler {
    /// A sampler of the file system at `proc`.
    pub fn new(proc: PathBuf) -> Self {
        Self { proc, units: Units::of_this_kernel(), known: HashMap::new(), now: 0 }
    }

    /// Samples every process once.
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
            other => other.insert_entry(Known::new(inode, now)).into_mut(),
        };
        known.seen = now;

        if let Place::Outside { next_check, pause } = &mut known.place {
            if now < *next_check {
                return;
            }
            let text = match open().and_then(|process| reading::cgroup(&process)) {
                Ok(text) => text,
                Err(ProcError::NotFound(_)) => return, // The process ended after it was listed.
                Err(error) => {
                    tracing::debug!(pid, %error, "cannot read the cgroup of a process");
                    sample.unreadable += 1;
                    return;
                }
            };
            let Some(container) = cgroup::container(&text) else {
                (*next_check, *pause) = (now + *pause, (*pause * 2).min(MAX_PAUSE));
                return;
            };
            known.place = Place::Inside { container: Arc::new(container), last: None };
        }
        if let Place::Inside { container, last } = &mut known.place {
            match open().and_then(|process| Reading::of(&process, *last, units)) {
                Ok(reading) => *last = Some(reading),
                Err(ProcError::NotFound(_)) => return,
                Err(error) => {
                    // The process exists, so the sample contains its last known figures.
                    tracing::debug!(pid, %error, "cannot read the figures of a process");
                    sample.unreadable += 1;
                }
            }
            sample.processes.push(last.unwrap_or_default().sample(pid, container));
        }
    }
}

impl Known {
    fn new(inode: u64, now: u64) -> Self {
        Self { inode, seen: now, place: Place::Outside { next_check: now, pause: 1 } }
    }
}

#[cfg(test)]
mod tests;
