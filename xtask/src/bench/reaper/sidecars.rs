//! The process that plays the sidecars.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::TOKEN_AUDIENCE;
use kube::ResourceExt as _;
use serde_json::Value;

use super::{
    crowd::Crowd,
    ground::{Ground, text_of},
    server,
};
use crate::bench::process::Measured;

pub(super) struct Sidecars {
    /// Killed when this is dropped.
    _process: Measured,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Sidecars {
    /// Starts them; none is connected yet.
    pub(super) async fn start(ground: &Ground, crowd: &Crowd, program: &Path) -> anyhow::Result<Self> {
        let pod = crowd.any_pod()?;
        let namespace = pod.namespace().context("a pod has a namespace")?;
        let token = ground.token(&namespace, "default", Some((pod, TOKEN_AUDIENCE))).await?;
        // Each has a connection.
        let mut command = ground.cluster.program("sh");
        command.args(["-c", r#"ulimit -n "$(ulimit -H -n)" && exec "$0" "$@""#]).arg(program);
        command.args([server::BEATS.to_string(), server::name()]);
        command.arg(ground.file("ca.pem", ground.authority().await?)?);
        command.arg(text_of(&ground.cluster.service_account_key())?);
        command.args([ground.file("token", token)?, ground.file("pods", crowd.list())?]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).env("RUST_BACKTRACE", "0");
        let mut process = Measured::start(&mut command, "the sidecars")?;
        let orders = process.0.stdin.take().context("its input was asked for")?;
        let answers = BufReader::new(process.0.stdout.take().context("its output was asked for")?);
        Ok(Self { _process: process, orders, answers })
    }

    /// Gives an order, waits until it is carried out, and says how many beats were answered.
    pub(super) fn order(&mut self, word: &str, number: usize) -> anyhow::Result<f64> {
        // The Leases are renewed meanwhile.
        tokio::task::block_in_place(|| {
            writeln!(self.orders, "{word} {number}").context("giving an order to the sidecars")?;
            let mut answer = String::new();
            self.answers.read_line(&mut answer).context("waiting for the sidecars")?;
            ensure!(!answer.is_empty(), "the sidecars have ended");
            let answer: Value = serde_json::from_str(&answer).context("the sidecars' answer")?;
            answer["beats"].as_f64().context("the sidecars do not say how many beats were answered")
        })
    }
}
