//! What a cluster promises to the tests that use it, checked on real clusters.
//!
//! One test function, so that `cargo test --test cluster` boots only two clusters.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jobwarden_testbed::{Cluster, ClusterConfig, TempNamespace, tear_down_on_signals};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use nix::sys::signal::Signal;
use serde_json::json;

/// Kubernetes marks a silent node `NotReady` after 50 s. The rest is for a busy machine.
const NOT_READY_TIMEOUT: Duration = Duration::from_secs(100);
const READY_TIMEOUT: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_survives_crashes_partitions_and_restarts_and_leaves_nothing_behind() -> Result<()> {
    tear_down_on_signals();
    let first = Cluster::up(&ClusterConfig::new("check-a")).await?;
    let second = Cluster::up(&ClusterConfig::new("check-b").nodes(1)).await?;
    ensure!(first.kubectl(["get", "nodes", "--output=name"]).await? == "node/node-1\nnode/node-2\n");
    ensure!(second.kubectl(["get", "nodes", "--output=name"]).await? == "node/node-1\n");
    second.down().await?;
    ensure!(leftovers("check-b")?.is_empty(), "{:?}", leftovers("check-b")?);

    let namespace = first.temp_namespace("check", &[("purpose", "test")]).await?;
    a_killed_container_process_fails_its_pod(&first, &namespace).await?;
    the_control_plane_can_be_restarted(&first).await?;
    pods_reach_a_listener_of_this_process(&first).await?;
    nodes_fail_and_recover(&first, &namespace).await?;

    let name = namespace.name().to_owned();
    drop(namespace);
    let left =
        first.kubectl(["get", "namespace", &name, "--output=jsonpath={.status.phase}", "--ignore-not-found"]).await?;
    ensure!(left.is_empty() || left == "Terminating", "namespace {name} is {left}");
    drop(first);
    ensure!(leftovers("check-a")?.is_empty(), "{:?}", leftovers("check-a")?);
    Ok(())
}

async fn a_killed_container_process_fails_its_pod(cluster: &Cluster, namespace: &TempNamespace) -> Result<()> {
    run_pod(cluster, namespace, "worker", "node-2").await?;
    let pids = cluster.processes_in(namespace.name(), "worker", "main").await?;
    let [pid] = pids[..] else { anyhow::bail!("expected one process in the container, found {pids:?}") };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    ensure!(status.starts_with("Name:\tpause"), "{status}");

    cluster.kill_process_in(namespace.name(), "worker", "main", Signal::SIGKILL).await?;
    let api: Api<Pod> = Api::namespaced(cluster.client()?, namespace.name());
    let ended = kube::runtime::wait::await_condition(api, "worker", |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some("Failed")
    });
    tokio::time::timeout(READY_TIMEOUT, ended)
        .await
        .context("the pod has not failed after its process was killed")??;
    Ok(())
}

async fn the_control_plane_can_be_restarted(cluster: &Cluster) -> Result<()> {
    cluster.stop_api_server().await?;
    ensure!(cluster.client()?.apiserver_version().await.is_err(), "the stopped API server still answers");
    cluster.start_api_server().await?;
    cluster.restart_api_server().await?;
    cluster.restart_etcd().await?;
    let version = cluster.client()?.apiserver_version().await?;
    ensure!(version.git_version.starts_with("v1.35."), "{version:?}");
    let logs = cluster.kubectl(["logs", "--namespace=kube-system", "deployment/coredns"]).await?;
    ensure!(logs.contains("CoreDNS"), "{logs}");
    ensure!(cluster.helm(["list"]).await?.starts_with("NAME"));
    Ok(())
}

async fn pods_reach_a_listener_of_this_process(cluster: &Cluster) -> Result<()> {
    let listener = cluster.listen(0).await?;
    let address = listener.local_addr()?;
    let accepted = tokio::task::spawn_blocking(move || listener.accept());
    // Dialling from the node's namespace is enough: packets of pods take the same path.
    let node = format!("--net=/run/netns/jw-{}-1", cluster.name());
    let dial = format!("exec 3<>/dev/tcp/{}/{}", address.ip(), address.port());
    let status = Command::new("nsenter").args([&node, "bash", "-c", &dial]).status()?;
    ensure!(status.success(), "node-1 cannot connect to {address}");
    let (_, peer) = accepted.await??;
    ensure!(peer.ip().to_string() == "10.88.0.11", "connection from {peer}, expected 10.88.0.11");
    Ok(())
}

async fn nodes_fail_and_recover(cluster: &Cluster, namespace: &TempNamespace) -> Result<()> {
    run_pod(cluster, namespace, "survivor", "node-2").await?;
    let before = cluster.processes_in(namespace.name(), "survivor", "main").await?;

    cluster.stop_kubelet("node-2").await?;
    cluster.wait_for_node("node-2", false, NOT_READY_TIMEOUT).await?;
    cluster.start_kubelet("node-2").await?;
    cluster.wait_for_node("node-2", true, READY_TIMEOUT).await?;

    cluster.partition("node-2").await?;
    cluster.wait_for_node("node-2", false, NOT_READY_TIMEOUT).await?;
    cluster.heal("node-2").await?;
    cluster.wait_for_node("node-2", true, READY_TIMEOUT).await?;
    let after = cluster.processes_in(namespace.name(), "survivor", "main").await?;
    ensure!(
        before == after,
        "the container's processes changed while its kubelet was down: {before:?} became {after:?}"
    );

    cluster.crash("node-2").await?;
    ensure!(!Path::new(&format!("/proc/{}", before[0])).exists(), "a process is still running after its node crashed");
    cluster.wait_for_node("node-2", false, NOT_READY_TIMEOUT).await?;
    let crashed = boot_id(cluster).await?;
    cluster.start_node("node-2").await?;
    cluster.wait_for_node("node-2", true, READY_TIMEOUT).await?;
    ensure!(boot_id(cluster).await? != crashed, "the kubelet reports the boot ID of before the crash");
    run_pod(cluster, namespace, "successor", "node-2").await
}

async fn boot_id(cluster: &Cluster) -> Result<String> {
    Ok(cluster.kubectl(["get", "node", "node-2", "--output=jsonpath={.status.nodeInfo.bootID}"]).await?)
}

async fn run_pod(cluster: &Cluster, namespace: &TempNamespace, name: &str, node: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(cluster.client()?, namespace.name());
    let pod = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "jobwarden.test/pause:1", "imagePullPolicy": "Never"}],
        },
    }))?;
    pods.create(&PostParams::default(), &pod).await?;
    let running = kube::runtime::wait::await_condition(pods, name, kube::runtime::wait::conditions::is_pod_running());
    tokio::time::timeout(READY_TIMEOUT, running).await.with_context(|| format!("pod {name} is not running"))??;
    Ok(())
}

/// What is left of a cluster: namespaces, mounts, cgroups and folders with its name.
fn leftovers(cluster: &str) -> Result<Vec<String>> {
    let prefix = format!("jw-{cluster}-");
    let state = format!("/var/lib/jobwarden-test/{cluster}");
    let mut found = Vec::new();
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    found.extend(mounts.lines().filter(|line| line.contains(&prefix) || line.contains(&state)).map(str::to_owned));
    let hierarchies: Vec<&str> = mounts
        .lines()
        .filter(|line| line.split(' ').nth(2).is_some_and(|kind| kind.starts_with("cgroup")))
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    for folder in hierarchies.into_iter().chain(["/run/netns"]).filter(|folder| Path::new(folder).exists()) {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)) {
                found.push(path.display().to_string());
            }
        }
    }
    if Path::new(&state).exists() {
        found.push(state);
    }
    Ok(found)
}
