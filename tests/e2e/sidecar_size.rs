//! The memory of the sidecar in a real pod, and the size of its image.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{SERVICE_ACCOUNT_DIR, SIDECAR_CONTAINER, TOKEN_AUDIENCE, sidecar_env};
use jobwarden_testbed::progress;
use jobwarden_tests::beat_server::BeatServer;
use jobwarden_tests::environment::SOON;
use jobwarden_tests::install::{self, HOME};
use jobwarden_tests::shared_cluster::SharedCluster;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

const MAX_RSS_KIB: u64 = 2 * 1024;
const MAX_ANON_KIB: u64 = 300;
const MAX_IMAGE_BYTES: u64 = 2_000_000;
const BEATS: u64 = 1_000;

/// The server asks for a beat every few milliseconds. A reaper asks for one every few seconds.
pub(crate) async fn the_sidecar_stays_small_over_a_thousand_beats(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("small").await?;
    let server = BeatServer::start(environment.cluster.listen(0).await?, Duration::from_millis(5))?;
    let pod = json!({
        "metadata": {"name": "small"},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": HOME},
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": SIDECAR_CONTAINER,
                "image": format!("jobwarden.io/jobwarden-sidecar:{}", env!("CARGO_PKG_VERSION")),
                "env": [
                    {"name": sidecar_env::REAPER_ADDRESS, "value": server.address()},
                    {"name": sidecar_env::REAPER_NAME, "value": server.name()},
                    {"name": sidecar_env::CA, "value": server.ca()},
                    {"name": sidecar_env::INTERVAL_MS, "value": "5"}
                ],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "16Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]}
                },
                "volumeMounts": [{"name": "token", "mountPath": SERVICE_ACCOUNT_DIR, "readOnly": true}]
            }],
            "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": {
                "audience": TOKEN_AUDIENCE, "expirationSeconds": 86400, "path": "token"
            }}]}}]
        }
    });
    let pods = Api::<Pod>::namespaced(environment.client.clone(), namespace.name());
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await.context("creating the pod")?;
    let started = Instant::now();
    server.wait_for_beats(BEATS, SOON * 2).await?;
    let pids = environment.cluster.processes_in(namespace.name(), "small", SIDECAR_CONTAINER).await?;
    let pid = *pids.first().context("the sidecar has no process")?;
    let status = tokio::fs::read_to_string(format!("/proc/{pid}/status")).await?;
    let (rss, anon) = (kib(&status, "VmRSS:")?, kib(&status, "RssAnon:")?);
    let took = progress::duration(started.elapsed());
    progress::note(format!("sidecar after {BEATS} beats in {took}: VmRSS {rss} KiB, RssAnon {anon} KiB"));
    ensure!(rss <= MAX_RSS_KIB, "VmRSS is {rss} KiB");
    ensure!(anon <= MAX_ANON_KIB, "RssAnon is {anon} KiB");

    let image = install::images()?.into_iter().find(|path| path.ends_with("jobwarden-sidecar.tar"));
    let bytes = tokio::fs::metadata(image.context("there is no image of the sidecar")?).await?.len();
    ensure!(bytes <= MAX_IMAGE_BYTES, "the image has {bytes} bytes");
    Ok(())
}

fn kib(status: &str, field: &str) -> anyhow::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{field} {line}"))
}
