//! Installs jobwarden from its chart on a test cluster, as an administrator does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use jobwarden_common::names::{label, label_value};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::job::Worker;
use crate::receiver::Receiver;
use jobwarden_testbed::Cluster;
use jobwarden_testbed::progress;

/// The namespace of jobwarden.
pub const NAMESPACE: &str = "jobwarden";

/// The node of jobwarden's own pods. Tests can crash the other nodes.
pub const HOME: &str = "node-1";

/// How long the API server may take until it calls a ready webhook.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(30);

/// The name of the one sink that tests configure.
pub const SINK: &str = "orchestrator";

/// The settings that tests change from the chart's defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long after the last beat a worker counts as lost.
    pub lost_after: Duration,
    /// How long after the last beat a worker is suspected.
    pub suspect_after: Duration,
    /// The time between beats.
    pub beat_interval: Duration,
    /// How long a finished Job is kept.
    pub retention: Duration,
    /// The preset of identity rules.
    pub preset: &'static str,
    /// Other values of the chart, each in the form of `helm --set`.
    pub set: &'static [&'static str],
}

impl Default for Settings {
    /// Short for fast tests, but long enough for two renewals of a node's Lease.
    fn default() -> Self {
        Self {
            lost_after: Duration::from_secs(20),
            suspect_after: Duration::from_secs(10),
            beat_interval: Duration::from_secs(2),
            retention: Duration::from_secs(5),
            preset: "ort-server",
            set: &[],
        }
    }
}

/// The images that `cargo xtask image` built.
pub fn images() -> anyhow::Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/images");
    let found: Vec<PathBuf> = folder
        .read_dir()
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "tar"))
        .collect();
    ensure!(!found.is_empty(), "no images in {}; run `cargo xtask image` first", folder.display());
    Ok(found)
}

/// The release build of a program, as `cargo xtask image` built it.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/x86_64-unknown-linux-musl/release");
    let program = folder.join(name);
    ensure!(program.exists(), "{} does not exist; run `cargo xtask image` first", program.display());
    Ok(program)
}

/// Installs the chart with the sink of tests, and waits until everything is ready. The nodes must have the images.
pub async fn install(cluster: &Cluster, settings: &Settings, receiver: &Receiver) -> anyhow::Result<()> {
    create_secret(cluster, "jobwarden-sink", "secret", receiver.secret()).await?;
    let own = json!({
        "webhook": {"identity": {"preset": settings.preset}},
        "reaper": {
            "sinks": [{
                "name": SINK,
                "url": receiver.url(),
                "secret": {"name": "jobwarden-sink", "key": "secret"}
            }]
        }
    });
    install_with(cluster, settings, &own.to_string()).await
}

/// The same with the identity preset and sinks of `values`, in the form of a file of values, and no others.
pub async fn install_with(cluster: &Cluster, settings: &Settings, values: &str) -> anyhow::Result<()> {
    let _step = progress::step("installing jobwarden from its chart");
    create_namespace(cluster).await?;
    let files = [values_file(values)?, values_file(&values_of(settings).to_string())?];
    let chart = chart();
    let arguments = ["install", "jobwarden"].map(str::to_owned).into_iter().chain([
        chart.display().to_string(),
        format!("--namespace={NAMESPACE}"),
        "--wait".to_owned(),
        "--timeout=3m".to_owned(),
    ]);
    let arguments = arguments.chain(files.iter().map(|file| format!("--values={}", file.path().display())));
    let arguments = arguments.chain(settings.set.iter().map(|value| format!("--set={value}")));
    cluster.helm(arguments).await.context("installing the chart")?;
    wait_until_admitting(cluster).await
}

/// A file with values of the chart, which exists as long as what is returned.
pub fn values_file(values: &str) -> anyhow::Result<NamedTempFile> {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().context("creating a file for the chart's values")?;
    fs::write(file.path(), values).context("writing the chart's values")?;
    Ok(file)
}

/// Waits until the API server calls the webhook. It is not enough that both replicas are ready: the Service's endpoints and
/// the API server's view of the webhook configuration follow a moment later. Until then Jobs are not admitted, or are rejected
/// if the failure policy is `Fail`.
pub async fn wait_until_admitting(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = cluster.temp_namespace("probe", &[(label::INJECT, label_value::ENABLED)]).await?;
    let jobs = Api::<Job>::namespaced(cluster.client()?, namespace.name());
    let (job, dry_run) =
        (Worker::new("probe", 1, Duration::ZERO).job(), PostParams { dry_run: true, ..PostParams::default() });
    let give_up = Instant::now() + ADMISSION_TIMEOUT;
    loop {
        let answer = jobs.create(&dry_run, &job).await;
        if answer.as_ref().is_ok_and(|job| job.labels().contains_key(label::ENROLLED)) {
            break;
        }
        if Instant::now() >= give_up {
            answer.context("creating a Job as a dry run")?;
            bail!("the API server does not call the webhook {ADMISSION_TIMEOUT:?} after it became ready");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    namespace.delete().await.context("deleting the probe's namespace")
}

/// Uninstalls the chart and waits for its hooks.
pub async fn uninstall(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = format!("--namespace={NAMESPACE}");
    cluster.helm(["uninstall", "jobwarden", &namespace, "--wait", "--timeout=3m"]).await.context("uninstalling")?;
    Ok(())
}

/// The chart's folder.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/chart")
}

fn values_of(settings: &Settings) -> Value {
    let time = |duration: Duration| format!("{}ms", duration.as_millis());
    json!({
        "image": {"repository": "jobwarden.io/jobwarden"},
        "sidecar": {"image": {"repository": "jobwarden.io/jobwarden-sidecar"}},
        "beatInterval": time(settings.beat_interval),
        "drain": {"delaySeconds": 5, "timeoutSeconds": 5},
        "controller": {"nodeSelector": {"kubernetes.io/hostname": HOME}},
        "reaper": {
            "lostAfter": time(settings.lost_after),
            "suspectAfter": time(settings.suspect_after),
            "retention": time(settings.retention),
            "lease": {"duration": "5s", "renew": "1s"},
            "logs": {"enabled": true}
        }
    })
}

async fn create_namespace(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    });
    let api = Api::<Namespace>::all(cluster.client()?);
    let apply = PatchParams::apply("jobwarden-tests");
    api.patch(NAMESPACE, &apply, &Patch::Apply(namespace)).await.context("creating jobwarden's namespace")?;
    Ok(())
}

/// Creates a Secret in the namespace of jobwarden, which is created as well.
pub async fn create_secret(cluster: &Cluster, name: &str, key: &str, content: &str) -> anyhow::Result<()> {
    create_namespace(cluster).await?;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {key: content}
    });
    let api = Api::<Secret>::namespaced(cluster.client()?, NAMESPACE);
    let apply = PatchParams::apply("jobwarden-tests");
    api.patch(name, &apply, &Patch::Apply(secret)).await.with_context(|| format!("creating Secret {name}"))?;
    Ok(())
}
