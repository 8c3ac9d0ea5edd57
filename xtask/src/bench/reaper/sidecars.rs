//! The process that simulates the sidecars.

use std::path::Path;

use anyhow::Context as _;
use jobwarden_common::names::TOKEN_AUDIENCE;
use kube::ResourceExt as _;
use serde_json::Value;

use super::workload::Workload;
use crate::bench::{
    environment::{BenchEnvironment, text_of},
    process::CommandedProcess,
    server,
};

/// The simulated sidecars of all pods.
pub(super) struct Sidecars(CommandedProcess);

impl Sidecars {
    /// Starts the process. No sidecar is connected yet.
    pub(super) async fn start(
        environment: &BenchEnvironment,
        workload: &Workload,
        program: &Path,
    ) -> anyhow::Result<Self> {
        let pod = workload.any_pod()?;
        let namespace = pod.namespace().context("a pod has a namespace")?;
        let token = environment.token(&namespace, "default", Some((pod, TOKEN_AUDIENCE))).await?;
        // Each sidecar has a connection.
        let mut command = environment.cluster.program("sh");
        command.args(["-c", r#"ulimit -n "$(ulimit -H -n)" && exec "$0" "$@""#]).arg(program);
        command.args([server::BEATS.to_string(), server::name()]);
        command.arg(environment.file("ca.pem", environment.authority().await?)?);
        command.arg(text_of(&environment.cluster.service_account_key())?);
        command.args([environment.file("token", token)?, environment.file("pods", workload.list())?]);
        command.env("RUST_BACKTRACE", "0");
        Ok(Self(CommandedProcess::start(&mut command, "the sidecars")?))
    }

    /// Sends a command, waits until it is done, and returns how many beats were answered.
    pub(super) fn command(&mut self, word: &str, number: usize) -> anyhow::Result<f64> {
        let answer = self.0.command(&format!("{word} {number}")).context("commanding the simulated sidecars")?;
        let answer: Value = serde_json::from_str(&answer).context("parsing the answer of the simulated sidecars")?;
        answer["beats"].as_f64().context("the answer of the simulated sidecars has no beats")
    }
}
