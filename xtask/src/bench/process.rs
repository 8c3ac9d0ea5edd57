//! A process that is measured, by the kernel's own account of it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};

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

/// A process that answers each line it is given by one; it is killed when this is dropped.
pub(super) struct Obedient {
    pub(super) process: Measured,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Obedient {
    /// Starts `command`, which is `what`.
    pub(super) fn start(command: &mut Command, what: &str) -> anyhow::Result<Self> {
        let mut process = Measured::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()), what)?;
        let orders = process.0.stdin.take().context("its input was asked for")?;
        let answers = BufReader::new(process.0.stdout.take().context("its output was asked for")?);
        Ok(Self { process, orders, answers })
    }

    /// Gives an order and waits for the answer.
    pub(super) fn order(&mut self, order: &str) -> anyhow::Result<String> {
        // Whatever else is going on here goes on meanwhile.
        tokio::task::block_in_place(|| {
            writeln!(self.orders, "{order}").with_context(|| format!("giving the order {order:?}"))?;
            let mut answer = String::new();
            self.answers.read_line(&mut answer).with_context(|| format!("waiting for the answer to {order:?}"))?;
            ensure!(!answer.is_empty(), "the process has ended");
            Ok(answer)
        })
    }
}

/// The middle one of some figures.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
