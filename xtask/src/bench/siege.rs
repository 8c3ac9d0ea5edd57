//! Every port of every part, attacked at once from one pod of a tenant, while probes, beats and reviews go on.
//!
//! The attacker is the example `siege` of jobwarden-serve in the network namespace and the cgroup of a worker pod on another node, so that it has
//! the share of the processors that a pod has. Probes and beats come from the control plane, beats over a kept-alive connection, reviews
//! from the load generator of the webhook's benchmark.

mod targets;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use http::StatusCode;
use jobwarden_common::{
    beat::{Beat, BeatRequest, Phase},
    names::{TOKEN_AUDIENCE, endpoint_key, label, label_value, object, port, route},
};
use jobwarden_testbed::{Cluster, ClusterConfig, Forwarder, TempNamespace, cgroups_of, progress};
use jobwarden_tests::{
    https_client::{Client, Server},
    install::{self, HOME, NAMESPACE, Settings},
    job::Worker,
    metrics,
    receiver::Receiver,
    wait,
};
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    batch::v1::Job,
    core::v1::{ConfigMap, Pod, Secret, ServiceAccount},
};
use kube::{Api, ResourceExt as _, api::PostParams};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use self::targets::{Part, Target};
use crate::{command::output, image};

/// The name of the benchmark.
pub(super) const NAME: &str = "siege";

/// How many connections the attacker holds over all ports together.
const CONNECTIONS: [usize; 3] = [64, 1_000, 10_000];

/// How long each attack lasts, and within it the measurements.
const SECONDS: (u64, u64) = (80, 70);

/// The timeout of the kubelet's probes; a probe without a response counts as twice that.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The pause between two beats and probes.
const EVERY: Duration = Duration::from_millis(200);

const SOON: Duration = Duration::from_mins(1);

pub(super) async fn measure() -> anyhow::Result<BTreeMap<&'static str, f64>> {
    image::ensure_tools()?;
    image::build()?;
    let siege = image::examples("jobwarden-serve", &["siege"])?.join("siege");
    let load = image::examples("jobwarden-webhook", &["load"])?.join("load");
    let cluster = Cluster::up(&ClusterConfig::new("bench-siege").nodes(2)).await?;
    for archive in install::images()? {
        cluster.import_image(&archive).await?;
    }
    let receiver = Receiver::start(cluster.listen(0).await?)?;
    install::install(&cluster, &Settings::default(), &receiver).await?;
    let environment = Siege::prepare(cluster).await?;
    let mut figures = BTreeMap::new();
    for connections in CONNECTIONS {
        let step = progress::step(format!("an attack with {connections} connections"));
        let measured = environment.attack(&siege, &load, connections).await?;
        step.detail(format!("{measured:?}"));
        for (figure, value) in measured {
            let worst = figures.entry(figure).or_insert(0.0);
            *worst = f64::max(*worst, value);
        }
    }
    environment.cluster.down().await?;
    Ok(figures)
}

/// The cluster, who attacks and who is attacked.
struct Siege {
    cluster: Cluster,
    targets: Vec<Target>,
    parts: Vec<Part>,
    /// A process of the attacking pod.
    attacker: i32,
    /// The token of an honest worker.
    token: String,
    /// The name and CA of the reaper, and the port that is forwarded to its leader.
    reaper: (String, String, Forwarder),
    /// The ports that are forwarded to the admin ports.
    admin: Vec<Forwarder>,
    webhook: String,
    folder: tempfile::TempDir,
    _namespace: TempNamespace,
}

impl Siege {
    async fn prepare(cluster: Cluster) -> anyhow::Result<Self> {
        let client = cluster.client()?;
        let enrolled = [(label::INJECT, label_value::ENABLED)];
        let namespace = cluster.temp_namespace("siege", &enrolled).await?;
        let other = cluster.node_names().into_iter().find(|node| node != HOME).context("there is no second node")?;
        let jobs = Api::<Job>::namespaced(client.clone(), namespace.name());
        let mut pods = Vec::new();
        for name in ["attacker", "honest"] {
            let worker = Worker::new(name, 4, Duration::from_hours(2)).on_node(&other);
            jobs.create(&PostParams::default(), &worker.job()).await.context("creating a Job")?;
            pods.push(wait::until_running(&client, namespace.name(), name, &[], SOON).await?);
        }
        let attacker = cluster.processes_in(namespace.name(), &pods[0].name_any(), "worker").await?;
        let attacker = *attacker.first().context("the attacker has no process")?;
        let token = token(&client, &pods[1]).await?;

        let (parts, targets) = targets::find(&cluster).await?;
        let leader = metrics::leader(&client).await?.name_any();
        let on = |port| targets.iter().filter(move |target| target.address.port() == port);
        let endpoint = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE).get(object::REAPER_ENDPOINT).await?;
        let field = |key: &str| endpoint.data.as_ref().and_then(|data| data.get(key)).cloned().context("no endpoint");
        let beats = on(port::REAPER).find(|target| target.pod == leader).context("the leader has no port for beats")?;
        let beats = cluster.forward(beats.address).await?;
        let reaper = (field(endpoint_key::SERVER_NAME)?, field(endpoint_key::CA)?, beats);
        let mut admin = Vec::new();
        for target in on(port::ADMIN) {
            admin.push(cluster.forward(target.address).await?);
        }
        let webhook = on(port::WEBHOOK).next().context("there is no webhook")?.address.to_string();

        let folder = tempfile::tempdir().context("creating a folder for certificates")?;
        let authority = Api::<Secret>::namespaced(client, NAMESPACE).get(object::CA_SECRET).await?;
        let authority =
            authority.data.and_then(|mut data| data.remove("tls.crt")).context("the CA Secret has no tls.crt")?;
        fs::write(folder.path().join("ca.pem"), authority.0).context("writing the CA certificate")?;
        Ok(Self { cluster, targets, parts, attacker, token, reaper, admin, webhook, folder, _namespace: namespace })
    }

    /// Attacks all ports with so many connections, and measures.
    async fn attack(
        &self,
        siege: &Path,
        load: &Path,
        connections: usize,
    ) -> anyhow::Result<BTreeMap<&'static str, f64>> {
        let before = targets::restarts(&self.cluster).await?;
        let (seconds, measured) = SECONDS;
        let each = connections.div_ceil(self.targets.len());
        let attacks: Vec<_> = self.targets.iter().map(|target| self.start(siege, target, each, seconds)).collect();
        let attacks: Vec<Attack> = attacks.into_iter().collect::<anyhow::Result<_>>()?;
        let mut reviews = self.cluster.program(load);
        reviews.args([&self.webhook, &self.folder.path().join("ca.pem").display().to_string()]);
        reviews.args(["typical", "8", "open", &measured.to_string()]).env("RUST_BACKTRACE", "0");
        let reviews = tokio::task::spawn_blocking(move || output(&mut reviews));
        let (probes, beats, rss) = tokio::try_join!(
            self.probes(Duration::from_secs(measured)),
            self.beats(Duration::from_secs(measured)),
            self.memory(Duration::from_secs(measured)),
        )?;
        let reviews: Value = serde_json::from_str(reviews.await??.lines().last().unwrap_or_default())
            .context("parsing the result of the load generator")?;
        drop(attacks);
        let after = targets::restarts(&self.cluster).await?;
        let review_p99_us = reviews["p99_us"].as_f64().context("the result has no p99")?;
        let mut figures = BTreeMap::from([
            ("probe_max_ms", probes),
            ("beat_p99_ms", beats),
            ("review_p99_ms", review_p99_us / 1000.0),
            ("restarts", f64::from(after - before)),
        ]);
        figures.extend(rss);
        Ok(figures)
    }

    /// Starts the attack on one port from the attacker's network namespace, with the share of the processors that its pod has.
    fn start(&self, siege: &Path, target: &Target, connections: usize, seconds: u64) -> anyhow::Result<Attack> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.attacker));
        let cgroups: Vec<_> = cgroups_of(self.attacker)?.iter().map(|file| file.display().to_string()).collect();
        let script = r#"for file in $CGROUPS; do echo $$ > "$file" || exit 1; done; ulimit -n "$(ulimit -H -n)" && exec "$0" "$@""#;
        command.args(["sh", "-c", script]).arg(siege).env("CGROUPS", cgroups.join(" "));
        command.args([target.kind, &target.address.to_string(), target.path]);
        command.args([connections.to_string(), seconds.to_string()]).stdout(Stdio::null());
        Ok(Attack(command.spawn().context("starting the attack")?))
    }

    /// The slowest probe, in milliseconds.
    async fn probes(&self, time: Duration) -> anyhow::Result<f64> {
        let (end, mut slowest) = (Instant::now() + time, Duration::ZERO);
        while Instant::now() < end {
            for admin in &self.admin {
                let start = Instant::now();
                let answered = timeout(PROBE_TIMEOUT, probe(admin.port())).await.is_ok_and(|ok| ok.unwrap_or(false));
                slowest = slowest.max(if answered { start.elapsed() } else { PROBE_TIMEOUT * 2 });
            }
            sleep(EVERY).await;
        }
        Ok(slowest.as_secs_f64() * 1000.0)
    }

    /// The 99th percentile of beats over a kept-alive connection, in milliseconds. A connection that breaks is opened again, and its time
    /// counts.
    async fn beats(&self, time: Duration) -> anyhow::Result<f64> {
        let (name, ca, forwarder) = &self.reaper;
        let server = Server { port: forwarder.port(), name, ca };
        let beat = serde_json::to_vec(&BeatRequest { beats: vec![Beat { seq: 0, phase: Phase::Running }] })?;
        let (end, mut latencies, mut client) = (Instant::now() + time, Vec::new(), None::<Client>);
        while Instant::now() < end {
            let start = Instant::now();
            loop {
                let attempt = async {
                    let mut open = match client.take() {
                        Some(open) => open,
                        None => Client::open(&server).await?,
                    };
                    let (status, _) = open.post(route::BEATS, Some(&self.token), beat.clone()).await?;
                    ensure!(status == StatusCode::OK, "a beat was answered with {status}");
                    anyhow::Ok(open)
                };
                match timeout(SOON, attempt).await.context("no answer to a beat")? {
                    Ok(open) => break client = Some(open),
                    Err(error) if start.elapsed() > SOON => return Err(error),
                    Err(_) => sleep(EVERY).await,
                }
            }
            latencies.push(start.elapsed());
            sleep(EVERY).await;
        }
        latencies.sort_unstable();
        let p99 = latencies.get((latencies.len().max(1) - 1) * 99 / 100).context("no beat was sent")?;
        Ok(p99.as_secs_f64() * 1000.0)
    }

    /// The most resident memory of each part, in KiB.
    async fn memory(&self, time: Duration) -> anyhow::Result<BTreeMap<&'static str, f64>> {
        let (end, mut most) = (Instant::now() + time, BTreeMap::new());
        while Instant::now() < end {
            for part in &self.parts {
                // A container that was killed shows among the restarts.
                let Some(rss) = part.rss_kib() else { continue };
                let so_far = most.entry(part.figure).or_insert(0.0);
                *so_far = f64::max(*so_far, rss);
            }
            sleep(Duration::from_secs(1)).await;
        }
        Ok(most)
    }
}

/// A running attack on one port. It ends when this is dropped.
struct Attack(Child);

impl Drop for Attack {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a probe over a connection of its own is answered with 200.
async fn probe(port: u16) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// A token of the pod for beats, as its kubelet requests it.
async fn token(client: &kube::Client, pod: &Pod) -> anyhow::Result<String> {
    let request: TokenRequest = serde_json::from_value(json!({"spec": {
        "audiences": [TOKEN_AUDIENCE],
        "expirationSeconds": 7200,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid()}
    }}))?;
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let created = accounts.create_token_request("default", &PostParams::default(), &request).await?;
    Ok(created.status.context("the API server returned no token")?.token)
}
