//! The reaper that is measured.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{TOKEN_AUDIENCE, object, port};
use jobwarden_tests::{cluster::Forwarder, install::NAMESPACE, metrics, progress};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use super::ground::Ground;
use crate::bench::process::Obedient;

/// Where the admin port is, in the cluster's network.
const ADMIN: u16 = 18_441;

/// Where beats go, in the cluster's network.
pub(super) const BEATS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port::REAPER);

/// How often it is asked whether it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long it may take to be ready, and to have looked at every Job once.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long it is left alone after that, before its memory is measured.
const CALM: Duration = Duration::from_secs(5);

/// A reaper that is ready; it is killed when this is dropped.
pub(super) struct Server {
    pub(super) program: Obedient,
    /// How long that took.
    pub(super) ready_after: Duration,
    admin: Forwarder,
}

/// The name by which the reaper's own beats and sidecars know it.
pub(super) fn name() -> String {
    format!("{}.{NAMESPACE}.svc", object::REAPER_SERVICE)
}

impl Server {
    /// Starts `program` and waits until it is ready.
    pub(super) async fn start(ground: &Ground, program: &Path) -> anyhow::Result<Self> {
        let step = progress::step("starting the reaper");
        let kubeconfig = ground.file("reaper.kubeconfig", kubeconfig(ground).await?)?;
        let pod = ground.own_pod().await?;
        let token = ground.token(NAMESPACE, object::WEBHOOK_SERVICE, Some((&pod, TOKEN_AUDIENCE))).await?;
        let token = ground.file("own-token", token)?;
        // No DNS server is asked, so the name that the Service has in the cluster is written down. A mount of its own: nobody
        // else's file changes.
        let hosts = ground.file("hosts", format!("{} {}\n", Ipv4Addr::LOCALHOST, name()))?;
        let mut command = ground.cluster.program("unshare");
        command.args(["--mount", "sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#, &hosts]);
        command.arg(program);
        command.args(["--namespace", NAMESPACE, "--pod-name", "bench", "--pod-uid", &pod.uid().unwrap_or_default()]);
        command.args(["--token-file", &token, "--listen", &BEATS.to_string(), "--log-level=warn"]);
        command.args(["--admin-addr", &SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN)).to_string()]);
        command.env("KUBECONFIG", kubeconfig);

        let admin = ground.cluster.forward(SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN))).await?;
        let begin = Instant::now();
        let mut program = Obedient::start(&mut command, "the reaper")?;
        while !get(&admin, "/readyz").await.is_ok_and(|(ready, _)| ready) {
            ensure!(program.process.0.try_wait()?.is_none(), "the reaper has ended");
            ensure!(begin.elapsed() < PATIENCE, "the reaper is not ready after {PATIENCE:?}");
            sleep(LOOK_EVERY).await;
        }
        let ready_after = begin.elapsed();
        step.detail(format!("ready after {:.2} s", ready_after.as_secs_f64()));
        Ok(Self { program, ready_after, admin })
    }

    /// Waits until it leads and has judged so many Jobs, and then a little longer.
    pub(super) async fn settle(self, jobs: usize) -> anyhow::Result<Self> {
        let _step = progress::step("letting it look at every Job");
        let give_up = Instant::now() + PATIENCE;
        loop {
            let judged = self.jobs("").await?;
            if judged >= jobs as f64 {
                break;
            }
            ensure!(Instant::now() < give_up, "{judged} of {jobs} Jobs are judged after {PATIENCE:?}");
            sleep(CALM / 10).await;
        }
        sleep(CALM).await;
        Ok(self)
    }

    /// How many bytes are allocated; only the reaper's example `weighed` tells.
    pub(super) fn allocated(&mut self) -> anyhow::Result<f64> {
        let answer = self.program.order("weigh")?;
        answer.trim().parse().with_context(|| format!("{answer:?} is no number of bytes"))
    }

    /// How many Jobs have a verdict, or this one.
    pub(super) async fn jobs(&self, verdict: &str) -> anyhow::Result<f64> {
        let (_, text) = get(&self.admin, "/metrics").await?;
        Ok(metrics::sum(&text, "jobwarden_jobs", verdict))
    }
}

/// The administrator's kubeconfig, with the reaper's own service account instead.
async fn kubeconfig(ground: &Ground) -> anyhow::Result<String> {
    let token = ground.token(NAMESPACE, object::REAPER_SERVICE, None).await?;
    let path = ground.cluster.kubeconfig();
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut config: Value = serde_json::from_slice(&text).context("the administrator's kubeconfig")?;
    config["users"][0]["user"] = json!({"token": token});
    Ok(config.to_string())
}

/// Whether the answer is 200, and its body.
async fn get(admin: &Forwarder, path: &str) -> anyhow::Result<(bool, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, admin.port())).await.context("connecting")?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.with_context(|| format!("reading {path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer to {path}"))?;
    Ok((head.starts_with("HTTP/1.1 200"), body.to_owned()))
}
