//! The ports and processes of jobwarden on a cluster.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

use anyhow::Context as _;
use jobwarden_common::names::{admission_route, api_route, object, port, route};
use jobwarden_testbed::Cluster;
use jobwarden_tests::install::NAMESPACE;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};

/// A port that is attacked.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The pod that it belongs to.
    pub(super) pod: String,
    pub(super) address: SocketAddr,
    /// `http` or `https`.
    pub(super) kind: &'static str,
    /// A path that it serves.
    pub(super) path: &'static str,
}

/// A process of jobwarden.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pid: i32,
    /// The figure of its memory.
    pub(super) figure: &'static str,
}

impl Part {
    /// Its resident memory (`VmRSS` of proc(5)); `None` if it has ended.
    pub(super) fn rss_kib(&self) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }
}

/// All processes, and all ports that a pod can connect to. Those of agents are on the loopback of their nodes.
pub(super) async fn find(cluster: &Cluster) -> anyhow::Result<(Vec<Part>, Vec<Target>)> {
    let (mut parts, mut targets) = (Vec::new(), Vec::new());
    for (namespace, pod) in pods(cluster).await? {
        let name = pod.name_any();
        let address =
            pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).context("a pod has no address")?;
        let address: IpAddr = address.parse().context("parsing the address of a pod")?;
        let (container, figure, ports): (_, _, &[_]) =
            match pod.labels().get("app.kubernetes.io/name").map(String::as_str) {
                Some(object::WEBHOOK_SERVICE) => {
                    ("webhook", "rss_kib_max_webhook", &[(port::WEBHOOK, "https", admission_route::PODS)])
                }
                Some(object::REAPER_SERVICE) => (
                    "reaper",
                    "rss_kib_max_reaper",
                    &[(port::REAPER, "https", route::BEATS), (port::API, "http", api_route::GUARDS)],
                ),
                Some(object::AGENT) => ("agent", "rss_kib_max_agent", &[]),
                _ => continue,
            };
        let pids = cluster.processes_in(&namespace, &name, container).await?;
        parts.push(Part { pid: *pids.first().context("a container has no process")?, figure });
        let common: &[_] = match container {
            "agent" => &[],
            _ => &[(port::ADMIN, "http", "/livez"), (port::METRICS, "http", "/metrics")],
        };
        for (port, kind, path) in ports.iter().chain(common).copied() {
            targets.push(Target { pod: name.clone(), address: SocketAddr::new(address, port), kind, path });
        }
    }
    Ok((parts, targets))
}

/// How often containers of jobwarden have been restarted, all together.
pub(super) async fn restarts(cluster: &Cluster) -> anyhow::Result<i32> {
    let pods = pods(cluster).await?;
    let statuses = pods.iter().filter_map(|(_, pod)| pod.status.as_ref()?.container_statuses.as_ref());
    Ok(statuses.flatten().map(|container| container.restart_count).sum())
}

async fn pods(cluster: &Cluster) -> anyhow::Result<Vec<(String, Pod)>> {
    let client = cluster.client()?;
    let mut found = Vec::new();
    for namespace in [NAMESPACE, object::AGENT] {
        let pods = Api::<Pod>::namespaced(client.clone(), namespace);
        let pods = pods.list(&ListParams::default()).await.context("listing jobwarden's pods")?;
        found.extend(pods.items.into_iter().map(|pod| (namespace.to_owned(), pod)));
    }
    Ok(found)
}
