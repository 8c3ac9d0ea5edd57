//! A hostile client at the ports of webhook, reaper and agent. It has no rights but those of a pod that can connect to them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http::StatusCode;
use jobwarden_common::names::{TOKEN_AUDIENCE, object, port, route};
use jobwarden_testbed::Forwarder;
use jobwarden_tests::environment::{Environment, SOON};
use jobwarden_tests::https_client::{Server, connect};
use jobwarden_tests::install::NAMESPACE;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{metrics, reaper_api};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::authentication::{Reaper, pod_token, run};

/// Longer than the kubelet waits until it kills a container whose liveness probe fails: six probes, ten seconds apart.
const SIEGE: Duration = Duration::from_secs(75);

/// The timeout of the kubelet's probes.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Several times the slots of an admin port.
const HELD: usize = 200;

/// Connections with heads that never end.
const HEADS: usize = 400;

/// The reaper's memory limit in the chart.
pub(crate) const MEMORY_LIMIT_KIB: u64 = 512 * 1024;

/// How long a hostile connection is held.
const HOLD: Duration = Duration::from_secs(20);

/// Requests that nobody reads the responses of, as many as fill all buffers.
const UNREAD: usize = 2_000;

pub(crate) async fn probes_are_answered_while_every_slot_of_an_admin_port_is_held(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("attacker").await?;
    let attacker = run(environment, namespace.name(), "attacker").await?.name_any();
    let pods = own_pods(environment).await?;
    ensure!(pods.len() >= 2, "webhook and reaper have {} pods", pods.len());
    let before = restarts(&pods);
    let mut attack = JoinSet::new();
    let mut forwarders = Vec::new();
    for pod in &pods {
        let admin = SocketAddr::new(address(pod)?, port::ADMIN);
        let hostile = environment.cluster.forward_from(namespace.name(), &attacker, "worker", admin).await?;
        for index in 0..HELD {
            attack.spawn(hold_for_ever(hostile.port(), index % 2 == 0));
        }
        forwarders.push((environment.cluster.forward(admin).await?, hostile));
    }
    let end = Instant::now() + SIEGE;
    while Instant::now() < end {
        for (pod, (forwarder, _)) in pods.iter().zip(&forwarders) {
            let answer = probe(forwarder).await.with_context(|| format!("probing {}", pod.name_any()))?;
            ensure!(answer.starts_with("HTTP/1.1 200"), "{} answers {answer:?}", pod.name_any());
        }
        sleep(Duration::from_millis(500)).await;
    }
    drop(attack);
    let after = own_pods(environment).await?;
    ensure!(restarts(&after) == before, "containers were restarted");
    let ready = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
    };
    ensure!(after.iter().all(ready), "a pod is not ready after the attack");
    Ok(())
}

pub(crate) async fn heads_that_never_end_cost_the_reaper_little_and_delay_no_honest_beat(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("heads").await?;
    let honest = run(environment, namespace.name(), "honest").await?;
    let token = pod_token(environment, &honest, TOKEN_AUDIENCE).await?;
    let leader = metrics::leader(&environment.client).await?;
    let before = restarts(std::slice::from_ref(&leader));
    let attacker = run(environment, namespace.name(), "attacker").await?.name_any();
    let reaper = Reaper::find(environment).await?;
    let beats_port = SocketAddr::new(address(&leader)?, port::REAPER);
    let hostile = environment.cluster.forward_from(namespace.name(), &attacker, "worker", beats_port).await?;
    let mut attack = JoinSet::new();
    for _ in 0..HEADS {
        let (port, name, ca) = (hostile.port(), reaper.server().name.to_owned(), reaper.server().ca.to_owned());
        attack.spawn(async move {
            loop {
                let server = Server { port, name: &name, ca: &ca };
                if unending_head(&server).await.is_err() {
                    sleep(Duration::from_millis(200)).await;
                }
            }
        });
    }
    let pids = environment.cluster.processes_in(NAMESPACE, &leader.name_any(), "reaper").await?;
    let pid = *pids.first().context("the leader has no process")?;
    let end = Instant::now() + SIEGE / 2;
    let (mut most, mut latencies) = (0, Vec::new());
    while Instant::now() < end {
        // A new connection each time.
        let start = Instant::now();
        let status = timeout(SOON, reaper.beat(Some(&token))).await.context("no answer to a beat")??;
        ensure!(status == StatusCode::OK, "an honest beat was answered with {status}");
        latencies.push(start.elapsed());
        most = most.max(rss_kib(pid)?);
        let guards = reaper_api::guards(&environment.client).await?;
        ensure!(guards.receives_signals(), "the reaper's own beat does not arrive: {guards:?}");
        sleep(Duration::from_millis(500)).await;
    }
    drop(attack);
    let slowest = latencies.iter().max().context("no beat was sent")?;
    ensure!(*slowest < PROBE_TIMEOUT * 5, "a beat over a new connection took {slowest:?}");
    ensure!(most < MEMORY_LIMIT_KIB / 2, "the reaper used {most} KiB");
    let after = metrics::leader(&environment.client).await?;
    ensure!(after.uid() == leader.uid() && restarts(&[after]) == before, "the leader was restarted or replaced");
    Ok(())
}

pub(crate) async fn a_report_of_who_is_no_agent_is_rejected_before_it_is_sent(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("no-agent").await?;
    let worker = run(environment, namespace.name(), "worker").await?;
    let token = pod_token(environment, &worker, TOKEN_AUDIENCE).await?;
    let reaper = Reaper::find(environment).await?;
    for length in [4_000_000, 40] {
        let mut stream = connect(&reaper.server()).await?;
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n",
            route::OBSERVATIONS
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        // Nothing of the body is ever sent; the response closes the connection.
        let read = timeout(Duration::from_secs(4), stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(answer.starts_with("HTTP/1.1 403"), "the reaper answers {answer:?}");
        ensure!(read.is_ok(), "the connection stays open after a 403");
    }
    Ok(())
}

pub(crate) async fn the_agent_listens_on_the_loopback_only(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let nodes = Api::<Node>::all(environment.client.clone()).list(&ListParams::default()).await?.items;
    let internal = |node: &Node| {
        let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
        addresses.into_iter().flatten().find(|it| it.type_ == "InternalIP").map(|it| it.address.clone())
    };
    let addresses: Vec<_> = nodes.iter().filter_map(internal).collect();
    ensure!(!addresses.is_empty(), "no node has an address");
    for address in addresses {
        for port in [port::AGENT_ADMIN, port::AGENT_METRICS] {
            let forwarder = environment.cluster.forward(SocketAddr::new(address.parse()?, port)).await?;
            let answer = probe(&forwarder).await;
            ensure!(answer.is_err(), "{address}:{port} answers {answer:?}");
        }
    }
    let agents = Api::<Pod>::namespaced(environment.client.clone(), object::AGENT).list(&ListParams::default()).await?;
    ensure!(restarts(&agents.items).iter().all(|(_, restarts)| *restarts == 0), "an agent's probes failed");
    Ok(())
}

/// The pods of webhook and reaper.
pub(crate) async fn own_pods(environment: &Environment) -> anyhow::Result<Vec<Pod>> {
    let selector = format!("app.kubernetes.io/name in ({}, {})", object::WEBHOOK_SERVICE, object::REAPER_SERVICE);
    let pods = Api::<Pod>::namespaced(environment.client.clone(), NAMESPACE);
    Ok(pods.list(&ListParams::default().labels(&selector)).await?.items)
}

pub(crate) fn address(pod: &Pod) -> anyhow::Result<IpAddr> {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).context("a pod has no address")?;
    address.parse().context("parsing the address of a pod")
}

/// How often the containers of each pod have been restarted.
fn restarts(pods: &[Pod]) -> Vec<(String, i32)> {
    let of = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        statuses.into_iter().flatten().map(|container| container.restart_count).sum()
    };
    let mut restarts: Vec<_> = pods.iter().map(|pod| (pod.name_any(), of(pod))).collect();
    restarts.sort();
    restarts
}

/// The resident memory of a process (`VmRSS` of proc(5)).
pub(crate) fn rss_kib(pid: i32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the leader has exited")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the leader has exited")?;
    line.trim().trim_end_matches(" kB").parse().context("parsing VmRSS")
}

/// Holds a connection without reading from it, with many requests on it or with none, and opens it again when it is closed.
async fn hold_for_ever(port: u16, requests: bool) {
    let request = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n".repeat(UNREAD);
    loop {
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            if requests {
                // Blocks once all buffers are full, until the connection is closed.
                let _ = timeout(HOLD, stream.write_all(&request)).await;
                sleep(HOLD).await;
            } else {
                let _ = timeout(HOLD, stream.peek(&mut [0])).await;
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// One probe as the kubelet sends it, over a connection of its own; the response.
async fn probe(forwarder: &Forwarder) -> anyhow::Result<String> {
    let probing = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, forwarder.port())).await?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(!answer.is_empty(), "the connection was closed");
        Ok(answer)
    };
    timeout(PROBE_TIMEOUT, probing).await.context("no response in time")?
}

/// A request that is answered with 404, and the beginning of another one, until the server closes the connection.
async fn unending_head(server: &Server<'_>) -> anyhow::Result<()> {
    let mut stream = connect(server).await?;
    stream.write_all(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let head = format!("GET /x HTTP/1.1\r\nhost: x\r\nx: {}", "a".repeat(60_000));
    // The 404 closes the connection, so that sending may fail.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(())
}
