//! Measuring a process by the kernel's counters.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};

/// A measured process. It is killed when this is dropped.
pub(super) struct Measured(pub(super) Child);

impl Drop for Measured {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Measured {
    /// Starts `command`; `what` names it in errors.
    pub(super) fn start(command: &mut Command, what: &str) -> anyhow::Result<Self> {
        Ok(Self(command.spawn().with_context(|| format!("starting {what}"))?))
    }

    /// The CPU time of all its threads so far, in microseconds (`/proc/<pid>/task/<tid>/schedstat`, nanoseconds on a CPU).
    pub(super) fn cpu_us(&self) -> anyhow::Result<f64> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.0.id()));
        let mut nanoseconds = 0;
        for task in fs::read_dir(&tasks).with_context(|| format!("reading {}", tasks.display()))? {
            let text = fs::read_to_string(task?.path().join("schedstat")).context("reading a thread's CPU time")?;
            nanoseconds += text.split_whitespace().next().context("an empty schedstat")?.parse::<u64>()?;
        }
        Ok(nanoseconds as f64 / 1000.0)
    }

    /// Its resident memory (`VmRSS` of proc(5)).
    pub(super) fn rss_kib(&self) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id())).context("reading a process' memory")?;
        let Some(line) = text.lines().find(|line| line.starts_with("VmRSS:")) else {
            bail!("the process has no VmRSS: it has exited")
        };
        line.split_whitespace().nth(1).context("VmRSS has no value")?.parse().context("VmRSS is not a number")
    }
}

/// A process that answers each line on stdin with one line on stdout. It is killed when this is dropped.
pub(super) struct CommandedProcess {
    pub(super) process: Measured,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl CommandedProcess {
    /// Starts `command`; `what` names it in errors.
    pub(super) fn start(command: &mut Command, what: &str) -> anyhow::Result<Self> {
        let mut process = Measured::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()), what)?;
        let commands = process.0.stdin.take().context("stdin is not a pipe")?;
        let answers = BufReader::new(process.0.stdout.take().context("stdout is not a pipe")?);
        Ok(Self { process, commands, answers })
    }

    /// Sends a command and waits for the answer.
    pub(super) fn command(&mut self, command: &str) -> anyhow::Result<String> {
        // Other tasks of this runtime keep running.
        tokio::task::block_in_place(|| {
            writeln!(self.commands, "{command}").with_context(|| format!("sending the command {command:?}"))?;
            let mut answer = String::new();
            self.answers.read_line(&mut answer).with_context(|| format!("waiting for the answer to {command:?}"))?;
            ensure!(!answer.is_empty(), "the process has exited");
            Ok(answer)
        })
    }
}

/// The median of some values.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
