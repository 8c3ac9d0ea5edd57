//! What the test cluster promises to the tests that stand on it, tried on a real one.
//!
//! One test in one file, so that `cargo test --test cluster` boots two clusters and no more.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jobwarden_tests::cluster::{Cluster, ClusterConfig, TempNamespace, tear_down_on_signals};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use nix::sys::signal::Signal;
use serde_json::json;

/// Kubernetes calls a silent node `NotReady` after 50 s; the rest is for a busy machine.
const NODE_GIVEN_UP: Duration = Duration::from_secs(100);
const NODE_BOOT: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_can_be_crashed_cut_off_and_restarted_and_leaves_nothing() -> Result<()> {
    tear_down_on_signals();
    let first = Cluster::up(&ClusterConfig::new("check-a")).await?;
    let second = Cluster::up(&ClusterConfig::new("check-b").nodes(1)).await?;
    ensure!(first.kubectl(["get", "nodes", "--output=name"]).await? == "node/node-1\nnode/node-2\n");
    ensure!(second.kubectl(["get", "nodes", "--output=name"]).await? == "node/node-1\n");
    second.down().await?;
    ensure!(traces("check-b")?.is_empty(), "{:?}", traces("check-b")?);

    let namespace = first.temp_namespace("check", &[("purpose", "test")]).await?;
    containers_are_processes_of_this_machine(&first, &namespace).await?;
    the_control_plane_restarts(&first).await?;
    pods_reach_a_listener_of_this_process(&first).await?;
    nodes_fail_and_come_back(&first, &namespace).await?;

    let name = namespace.name().to_owned();
    drop(namespace);
    let left =
        first.kubectl(["get", "namespace", &name, "--output=jsonpath={.status.phase}", "--ignore-not-found"]).await?;
    ensure!(left.is_empty() || left == "Terminating", "namespace {name} is {left}");
    drop(first);
    ensure!(traces("check-a")?.is_empty(), "{:?}", traces("check-a")?);
    Ok(())
}

async fn containers_are_processes_of_this_machine(cluster: &Cluster, namespace: &TempNamespace) -> Result<()> {
    run_pod(cluster, namespace, "worker", "node-2").await?;
    let pids = cluster.processes_in(namespace.name(), "worker", "main").await?;
    let [pid] = pids[..] else { anyhow::bail!("the container has one process, not {pids:?}") };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    ensure!(status.starts_with("Name:\tpause"), "{status}");

    cluster.kill_process_in(namespace.name(), "worker", "main", Signal::SIGKILL).await?;
    let api: Api<Pod> = Api::namespaced(cluster.client()?, namespace.name());
    let ended = kube::runtime::wait::await_condition(api, "worker", |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some("Failed")
    });
    tokio::time::timeout(NODE_BOOT, ended).await.context("the pod of a killed process has not failed")??;
    Ok(())
}

async fn the_control_plane_restarts(cluster: &Cluster) -> Result<()> {
    cluster.stop_api_server().await?;
    ensure!(cluster.client()?.apiserver_version().await.is_err(), "a stopped API server answers");
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
    // A probe of the node's own namespace is enough: it is the way that pods' packets take, too.
    let node = format!("--net=/run/netns/jw-{}-1", cluster.name());
    let dial = format!("exec 3<>/dev/tcp/{}/{}", address.ip(), address.port());
    let status = Command::new("nsenter").args([&node, "bash", "-c", &dial]).status()?;
    ensure!(status.success(), "node-1 cannot dial {address}");
    let (_, peer) = accepted.await??;
    ensure!(peer.ip().to_string() == "10.88.0.11", "dialled by {peer}");
    Ok(())
}

async fn nodes_fail_and_come_back(cluster: &Cluster, namespace: &TempNamespace) -> Result<()> {
    run_pod(cluster, namespace, "survivor", "node-2").await?;
    let before = cluster.processes_in(namespace.name(), "survivor", "main").await?;

    cluster.stop_kubelet("node-2").await?;
    cluster.wait_for_node("node-2", false, NODE_GIVEN_UP).await?;
    cluster.start_kubelet("node-2").await?;
    cluster.wait_for_node("node-2", true, NODE_BOOT).await?;

    cluster.partition("node-2").await?;
    cluster.wait_for_node("node-2", false, NODE_GIVEN_UP).await?;
    cluster.heal("node-2").await?;
    cluster.wait_for_node("node-2", true, NODE_BOOT).await?;
    let after = cluster.processes_in(namespace.name(), "survivor", "main").await?;
    ensure!(before == after, "the container did not outlive its kubelet: {before:?} became {after:?}");

    cluster.crash("node-2").await?;
    ensure!(!Path::new(&format!("/proc/{}", before[0])).exists(), "a process outlived its node");
    cluster.wait_for_node("node-2", false, NODE_GIVEN_UP).await?;
    cluster.start_node("node-2").await?;
    cluster.wait_for_node("node-2", true, NODE_BOOT).await?;
    run_pod(cluster, namespace, "successor", "node-2").await
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
    tokio::time::timeout(NODE_BOOT, running).await.with_context(|| format!("pod {name} does not run"))??;
    Ok(())
}

/// What there still is of a cluster: namespaces, mounts, cgroups and folders with its name.
fn traces(cluster: &str) -> Result<Vec<String>> {
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
