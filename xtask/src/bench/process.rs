//! A process that is measured, by the kernel's own account of it.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command},
};

use anyhow::{Context as _, bail};

/// A process that is measured; it is killed when this is dropped.
pub(super) struct Measured(pub(super) Child);

impl Drop for Measured {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Measured {
    /// Starts `command`, which is `what`.
    pub(super) fn start(command: &mut Command, what: &str) -> anyhow::Result<Self> {
        Ok(Self(command.spawn().with_context(|| format!("starting {what}"))?))
    }

    /// CPU time of all threads so far, in microseconds (`/proc/<pid>/task/<tid>/schedstat`, nanoseconds on a CPU).
    pub(super) fn cpu_us(&self) -> anyhow::Result<f64> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.0.id()));
        let mut nanoseconds = 0;
        for task in fs::read_dir(&tasks).with_context(|| format!("reading {}", tasks.display()))? {
            let text = fs::read_to_string(task?.path().join("schedstat")).context("reading a thread's CPU time")?;
            nanoseconds += text.split_whitespace().next().context("an empty schedstat")?.parse::<u64>()?;
        }
        Ok(nanoseconds as f64 / 1000.0)
    }

    /// Resident memory (`VmRSS` of proc(5)).
    pub(super) fn rss_kib(&self) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id())).context("reading a process' memory")?;
        let Some(line) = text.lines().find(|line| line.starts_with("VmRSS:")) else {
            bail!("a process without VmRSS: it has ended")
        };
        line.split_whitespace().nth(1).context("VmRSS without a figure")?.parse().context("VmRSS is no number")
    }
}

/// The middle one of some figures.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
