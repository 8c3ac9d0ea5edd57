//! The measured reaper.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{TOKEN_AUDIENCE, object, port};
use jobwarden_testbed::{Forwarder, progress};
use jobwarden_tests::{install::NAMESPACE, metrics};
use kube::ResourceExt as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{environment::BenchEnvironment, plain_http, process::CommandedProcess};

/// The admin port, in the cluster's network.
const ADMIN: u16 = 18_441;
/// The metrics port.
const METRICS: u16 = 18_442;

/// The address for beats, in the cluster's network.
pub(super) const BEATS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port::REAPER);

/// The time between two readiness checks.
const READINESS_POLL: Duration = Duration::from_millis(20);

/// How long it may take to become ready, and to evaluate every Job once.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The idle time after that, before its memory is measured.
const IDLE: Duration = Duration::from_secs(5);

/// A ready reaper. It is killed when this is dropped.
pub(super) struct Server {
    pub(super) program: CommandedProcess,
    /// How long it took to become ready.
    pub(super) ready_after: Duration,
    metrics: Forwarder,
}

/// The server name that sidecars and the reaper's self-beat use.
pub(super) fn name() -> String {
    format!("{}.{NAMESPACE}.svc", object::REAPER_SERVICE)
}

impl Server {
    /// Starts `program` with the sinks of `config`, if there is one, and waits until it is ready.
    pub(super) async fn start(
        environment: &BenchEnvironment,
        program: &Path,
        config: Option<&Value>,
    ) -> anyhow::Result<Self> {
        let step = progress::step("starting the reaper");
        let kubeconfig = environment.file("reaper.kubeconfig", kubeconfig(environment).await?)?;
        let pod = environment.own_pod().await?;
        let token = environment.token(NAMESPACE, object::WEBHOOK_SERVICE, Some((&pod, TOKEN_AUDIENCE))).await?;
        let token = environment.file("own-token", token)?;
        // The name is resolved by a hosts file instead of DNS. It is mounted in the process' own mount namespace, so the
        // machine's /etc/hosts does not change.
        let hosts = environment.file("hosts", format!("{} {}\n", Ipv4Addr::LOCALHOST, name()))?;
        let mut command = environment.cluster.program("unshare");
        command.args(["--mount", "sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#, &hosts]);
        command.arg(program);
        command.args(["--namespace", NAMESPACE, "--pod-name", "bench", "--pod-uid", &pod.uid().unwrap_or_default()]);
        command.args(["--token-file", &token, "--listen", &BEATS.to_string(), "--log-level=warn"]);
        command.args(["--admin-addr", &SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN)).to_string()]);
        command.args(["--metrics-addr", &SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS)).to_string()]);
        if let Some(config) = config {
            command.args(["--config", &environment.file("reaper.yaml", config.to_string())?]);
        }
        command.env("KUBECONFIG", kubeconfig);

        let admin = environment.cluster.forward(SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN))).await?;
        let metrics = environment.cluster.forward(SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS))).await?;
        let begin = Instant::now();
        let mut program = CommandedProcess::start(&mut command, "the reaper")?;
        while !plain_http::get(&admin, "/readyz").await.is_ok_and(|(ready, _)| ready) {
            ensure!(program.process.0.try_wait()?.is_none(), "the reaper has exited");
            ensure!(begin.elapsed() < TIMEOUT, "the reaper is not ready after {TIMEOUT:?}");
            sleep(READINESS_POLL).await;
        }
        let ready_after = begin.elapsed();
        step.detail(format!("ready after {:.2} s", ready_after.as_secs_f64()));
        Ok(Self { program, ready_after, metrics })
    }

    /// Waits until it leads and has evaluated `jobs` Jobs, and then a little longer.
    pub(super) async fn settle(self, jobs: usize) -> anyhow::Result<Self> {
        let _step = progress::step("waiting until every Job is evaluated");
        let give_up = Instant::now() + TIMEOUT;
        loop {
            let evaluated = self.jobs("").await?;
            if evaluated >= jobs as f64 {
                break;
            }
            ensure!(Instant::now() < give_up, "only {evaluated} of {jobs} Jobs are evaluated after {TIMEOUT:?}");
            sleep(IDLE / 10).await;
        }
        sleep(IDLE).await;
        Ok(self)
    }

    /// The number of allocated bytes. Only the reaper's example `weighed` reports it.
    pub(super) fn allocated(&mut self) -> anyhow::Result<f64> {
        let answer = self.program.command("weigh")?;
        answer.trim().parse().with_context(|| format!("{answer:?} is not a number of bytes"))
    }

    /// The number of Jobs with this verdict, or with any if it is empty.
    pub(super) async fn jobs(&self, verdict: &str) -> anyhow::Result<f64> {
        self.metric("jobwarden_jobs", verdict).await
    }

    /// The sum of the series of this metric whose labels contain `labels`.
    pub(super) async fn metric(&self, name: &str, labels: &str) -> anyhow::Result<f64> {
        let (_, text) = plain_http::get(&self.metrics, "/metrics").await?;
        Ok(metrics::sum(&text, name, labels))
    }

    /// Ends it as the kubelet does, so that the next one can lead at once.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.program.process.0.id()).context("a PID is an i32")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("ending the reaper")?;
        let give_up = Instant::now() + TIMEOUT;
        while self.program.process.0.try_wait()?.is_none() {
            ensure!(Instant::now() < give_up, "the reaper has not ended {TIMEOUT:?} after SIGTERM");
            sleep(READINESS_POLL).await;
        }
        Ok(())
    }
}

/// The administrator's kubeconfig, with the credentials of the reaper's service account.
async fn kubeconfig(environment: &BenchEnvironment) -> anyhow::Result<String> {
    let token = environment.token(NAMESPACE, object::REAPER_SERVICE, None).await?;
    let path = environment.cluster.kubeconfig();
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut config: Value = serde_json::from_slice(&text).context("the administrator's kubeconfig")?;
    config["users"][0]["user"] = json!({"token": token});
    Ok(config.to_string())
}
