//! The process that records outcomes and receives notifications.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

use anyhow::Context as _;
use jobwarden_tests::install::NAMESPACE;
use serde_json::Value;

use crate::bench::{environment::BenchEnvironment, process::CommandedProcess};

/// Where it receives, in the cluster's network.
pub(super) const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 18_443);

/// The process. `tests/outcomes/src/main.rs` says what each command does. The `sinks` of a command are their names, with commas between
/// them.
pub(super) struct Outcomes(CommandedProcess);

impl Outcomes {
    pub(super) fn start(environment: &BenchEnvironment, program: &Path) -> anyhow::Result<Self> {
        let mut command = environment.cluster.program(program);
        command.args([NAMESPACE, &ADDRESS.to_string()]).env("RUST_BACKTRACE", "0");
        Ok(Self(CommandedProcess::start(&mut command, "the recorder of outcomes")?))
    }

    pub(super) fn record(&mut self, count: usize, sinks: &str) -> anyhow::Result<()> {
        self.figure(&format!("record {count} {sinks}"), "seconds").map(drop)
    }

    pub(super) fn flow(&mut self, count: usize, sinks: &str) -> anyhow::Result<()> {
        self.figure(&format!("flow {count} {sinks}"), "seconds").map(drop)
    }

    /// The 99th percentile of the latencies, in milliseconds.
    pub(super) fn pace(&mut self, count: usize, rate: u32, sinks: &str) -> anyhow::Result<f64> {
        self.figure(&format!("pace {count} {rate} {sinks}"), "p99_ms")
    }

    /// How many statuses were written in a second.
    pub(super) fn write(&mut self, count: usize) -> anyhow::Result<f64> {
        self.figure(&format!("write {count}"), "per_s")
    }

    pub(super) fn count(&mut self) -> anyhow::Result<usize> {
        self.number("count", "outcomes")
    }

    pub(super) fn acknowledged(&mut self, sink: &str) -> anyhow::Result<usize> {
        self.number(&format!("acknowledged {sink}"), "acknowledged")
    }

    pub(super) fn clear(&mut self) -> anyhow::Result<()> {
        self.number("clear", "deleted").map(drop)
    }

    fn figure(&mut self, command: &str, field: &str) -> anyhow::Result<f64> {
        let answer = self.command(command)?;
        answer[field].as_f64().with_context(|| format!("{answer} has no {field}"))
    }

    fn number(&mut self, command: &str, field: &str) -> anyhow::Result<usize> {
        let answer = self.command(command)?;
        let number = answer[field].as_u64().with_context(|| format!("{answer} has no {field}"))?;
        usize::try_from(number).with_context(|| format!("{number} outcomes"))
    }

    /// Sends a command, waits until it is done, and returns the answer.
    fn command(&mut self, command: &str) -> anyhow::Result<Value> {
        let answer = self.0.command(command).context("commanding the recorder of outcomes")?;
        serde_json::from_str(&answer).context("parsing the answer of the recorder of outcomes")
    }
}
