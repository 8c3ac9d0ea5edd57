//! The process that plays the sidecars.

use std::path::Path;

use anyhow::Context as _;
use jobwarden_common::names::TOKEN_AUDIENCE;
use kube::ResourceExt as _;
use serde_json::Value;

use super::{
    crowd::Crowd,
    ground::{Ground, text_of},
    server,
};
use crate::bench::process::Obedient;

pub(super) struct Sidecars(Obedient);

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
        command.env("RUST_BACKTRACE", "0");
        Ok(Self(Obedient::start(&mut command, "the sidecars")?))
    }

    /// Gives an order, waits until it is carried out, and says how many beats were answered.
    pub(super) fn order(&mut self, word: &str, number: usize) -> anyhow::Result<f64> {
        let answer = self.0.order(&format!("{word} {number}")).context("the sidecars")?;
        let answer: Value = serde_json::from_str(&answer).context("the sidecars' answer")?;
        answer["beats"].as_f64().context("the sidecars do not say how many beats were answered")
    }
}
