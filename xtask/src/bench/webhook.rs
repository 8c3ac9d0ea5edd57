//! The webhook over TLS, compared with a server that does nothing (the floor), and at the real API server.
//!
//! The measured program is the release build. It runs as one process on loopback inside the test cluster's network, where it
//! reaches the API server that it needs to become ready. The floor and the load generator are separate processes. The cost of a
//! review is the CPU time of all threads of the server by the kernel's counters, so it excludes the load generator.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{label, label_value, object};
use jobwarden_testbed::{Cluster, ClusterConfig, progress};
use jobwarden_tests::{
    install::{self, NAMESPACE, Settings},
    job::Worker,
    receiver::Receiver,
};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, ResourceExt as _, api::PostParams};
use serde_json::Value;

use super::process::{Measured, median};
use crate::{command::output, image};

const WEBHOOK: &str = "127.0.0.1:18443";
const FLOOR: &str = "127.0.0.1:18444";

/// How often each of the two servers is measured, in turns.
const TURNS: usize = 5;

/// How long an open loop of requests lasts.
const OPEN_SECONDS: u32 = 6;

/// How long the attack lasts, and within it the normal reviews.
const SIEGE_SECONDS: (u32, u32) = (14, 12);

/// The number of pods created with the webhook, and without.
const CREATIONS: usize = 300;

/// How long the webhook may take to become ready.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// A measured server.
struct Server {
    process: Measured,
    address: &'static str,
    ca: PathBuf,
    reviews: u64,
}

pub(super) async fn measure() -> anyhow::Result<BTreeMap<&'static str, f64>> {
    image::build()?;
    image::examples("jobwarden-webhook", &["floor", "load"])?;
    let cluster = Cluster::up(&ClusterConfig::new("bench").nodes(1)).await?;
    for archive in install::images()? {
        cluster.import_image(&archive).await?;
    }
    let receiver = Receiver::start(cluster.listen(0).await?)?;
    install::install(&cluster, &Settings::default(), &receiver).await?;
    let mut figures = BTreeMap::from([("api_server_added_ms", added_ms(&cluster).await?)]);

    let folder = tempfile::tempdir().context("creating a folder for certificates")?;
    let authority = Api::<Secret>::namespaced(cluster.client()?, NAMESPACE).get(object::CA_SECRET).await?;
    let authority =
        authority.data.and_then(|mut data| data.remove("tls.crt")).context("the CA Secret has no tls.crt")?;
    let ca = folder.path().join("webhook.pem");
    fs::write(&ca, authority.0).context("writing the CA certificate")?;
    let measured = tokio::task::spawn_blocking(move || {
        let mut webhook = webhook(&cluster, ca)?;
        let mut floor = floor(&cluster, &folder.path().join("floor.pem"))?;
        let figures = over_tls(&cluster, &mut webhook, &mut floor)?;
        drop((webhook, floor));
        anyhow::Ok((figures, cluster))
    });
    let (over_tls, cluster) = measured.await??;
    figures.extend(over_tls);
    cluster.down().await?;
    Ok(figures)
}

fn release() -> PathBuf {
    image::programs("release")
}

fn webhook(cluster: &Cluster, ca: PathBuf) -> anyhow::Result<Server> {
    let mut command = cluster.program(release().join("jobwarden-webhook"));
    command.args(["--listen", WEBHOOK, "--namespace", NAMESPACE, "--finalizer", "--log-level=warn"]);
    command.args(["--admin-addr", "127.0.0.1:18440"]);
    let process = Measured::start(command.stdin(Stdio::null()), "the webhook")?;
    let mut server = Server { process, address: WEBHOOK, ca, reviews: 0 };
    let give_up = Instant::now() + READY_WITHIN;
    while let Err(error) = load(cluster, &mut server, &["minimal", "1", "closed", "1"]) {
        ensure!(server.process.0.try_wait()?.is_none(), "the webhook has exited");
        ensure!(Instant::now() < give_up, "the webhook is not ready after {READY_WITHIN:?}: {error:#}");
        sleep(Duration::from_millis(200));
    }
    Ok(server)
}

fn floor(cluster: &Cluster, ca: &Path) -> anyhow::Result<Server> {
    let mut command = cluster.program(release().join("examples/floor"));
    let mut process = Measured::start(command.arg(FLOOR).stdout(Stdio::piped()), "the floor")?;
    let lines = BufReader::new(process.0.stdout.take().context("stdout is not a pipe")?).lines();
    let mut pem = String::new();
    for line in lines {
        let line = line.context("reading the floor's certificate")?;
        pem.extend([line.as_str(), "\n"]);
        if line.starts_with("-----END") {
            break;
        }
    }
    fs::write(ca, pem).context("writing the floor's certificate")?;
    Ok(Server { process, address: FLOOR, ca: ca.to_owned(), reviews: 0 })
}

/// The command of the load generator, with these arguments.
fn load_command(cluster: &Cluster, server: &Server, arguments: &[&str]) -> Command {
    let mut command: Command = cluster.program(release().join("examples/load"));
    // If it fails, its error message is enough.
    command.arg(server.address).arg(&server.ca).args(arguments).env("RUST_BACKTRACE", "0");
    command
}

/// The result that the load generator prints last.
fn result_of(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text.lines().last().unwrap_or_default()).context("parsing the result of the load generator")
}

/// Runs the load generator and returns its result.
fn load(cluster: &Cluster, server: &mut Server, arguments: &[&str]) -> anyhow::Result<Value> {
    let result = result_of(&output(&mut load_command(cluster, server, arguments))?)?;
    server.reviews += result["requests"].as_u64().unwrap_or_default();
    Ok(result)
}

fn over_tls(
    cluster: &Cluster,
    webhook: &mut Server,
    floor: &mut Server,
) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let mut figures = BTreeMap::new();
    // Before anything is measured, all buffers have grown and all pages are resident.
    for server in [&mut *webhook, &mut *floor] {
        load(cluster, server, &["large", "8", "closed", "400"])?;
        load(cluster, server, &["typical", "8", "closed", "2000"])?;
    }
    for (pod, connections, amount, ratio, ours, theirs) in [
        // Over one connection, both servers wait for the client and wake it up with each review. Over several, the floor is so
        // fast that the client never sleeps, so only the webhook pays for waking it up.
        ("typical", "1", "4000", "cpu_ratio_typical", "cpu_us_typical", "floor_us_typical"),
        ("typical", "8", "8000", "cpu_ratio_typical_8", "cpu_us_typical_8", "floor_us_typical_8"),
        ("typical", "32", "8000", "cpu_ratio_typical_32", "cpu_us_typical_32", "floor_us_typical_32"),
        ("large", "8", "1600", "cpu_ratio_large", "cpu_us_large", "floor_us_large"),
    ] {
        let step = progress::step(format!("{pod} pods over {connections} connections"));
        let mut costs = [Vec::new(), Vec::new()];
        for _ in 0..TURNS {
            for (server, costs) in [&mut *webhook, &mut *floor].into_iter().zip(&mut costs) {
                let before = server.process.cpu_us()?;
                let result = load(cluster, server, &[pod, connections, "closed", amount])?;
                costs.push(
                    (server.process.cpu_us()? - before)
                        / result["requests"].as_f64().context("the result has no requests")?,
                );
            }
        }
        let [webhooks, floors] = costs.map(median);
        step.detail(format!("{webhooks:.0} µs, the floor {floors:.0}"));
        figures.extend([(ratio, webhooks / floors), (ours, webhooks), (theirs, floors)]);
    }
    let mut p99s = [Vec::new(), Vec::new()];
    {
        let _step = progress::step("an open loop of 200 reviews a second");
        let seconds = OPEN_SECONDS.to_string();
        for _ in 0..TURNS {
            for (server, p99s) in [&mut *webhook, &mut *floor].into_iter().zip(&mut p99s) {
                let result = load(cluster, server, &["typical", "8", "open", &seconds])?;
                p99s.push(result["p99_us"].as_f64().context("the result has no p99")?);
            }
        }
    }
    let [webhooks, floors] = p99s.map(median);
    figures.extend([("p99_over_floor_us", webhooks - floors), ("p99_us", webhooks)]);

    figures.insert("p99_under_siege_us", p99_under_siege_us(cluster, webhook)?);

    // Memory after this many reviews of typical pods; the reviews before are not counted.
    let _step = progress::step("200,000 reviews");
    for (until, figure) in [(20_000, "rss_kib_after_20k"), (200_000, "rss_kib_after_200k")] {
        let so_far = if until == 20_000 { 0 } else { 20_000 };
        load(cluster, webhook, &["typical", "8", "closed", &(until - so_far).to_string()])?;
        figures.insert(figure, webhook.process.rss_kib()?);
    }
    ensure!(webhook.reviews >= 200_000, "only {} reviews were answered", webhook.reviews);
    Ok(figures)
}

/// The p99 of an open loop while a thousand connections are slow and others send bodies of 10 MiB.
fn p99_under_siege_us(cluster: &Cluster, webhook: &mut Server) -> anyhow::Result<f64> {
    let step = progress::step("an open loop during an attack with 1,000 slow connections and bodies of 10 MiB");
    let (siege, reviews) = SIEGE_SECONDS;
    let siege = ["large", "1000", "siege", &siege.to_string()].map(str::to_owned);
    let mut siege = load_command(cluster, webhook, &siege.each_ref().map(String::as_str));
    let siege = siege.stdout(Stdio::piped()).spawn().context("starting the attack")?;
    let normal = load(cluster, webhook, &["typical", "8", "open", &reviews.to_string()]);
    let siege = siege.wait_with_output().context("waiting for the attack")?;
    ensure!(siege.status.success(), "the attack failed");
    let attack = result_of(&String::from_utf8_lossy(&siege.stdout))?;
    let p99 = normal?["p99_us"].as_f64().context("the result has no p99")?;
    step.detail(format!("{} slow connections, {} floods: p99 {p99:.0} µs", attack["slow"], attack["requests"]));
    Ok(p99)
}

/// The time that admission adds to the creation of a pod: the same pods with and without, in turns, as dry runs.
async fn added_ms(cluster: &Cluster) -> anyhow::Result<f64> {
    let _step = progress::step("creating pods at the API server with and without admission");
    let with = cluster.temp_namespace("with", &[(label::INJECT, label_value::ENABLED)]).await?;
    let without = cluster.temp_namespace("without", &[]).await?;
    let template = Worker::new("work", 4, Duration::ZERO).job().spec.context("a Job has a spec")?.template;
    let mut pod = Pod { spec: template.spec, ..Pod::default() };
    pod.metadata.name = Some("work".to_owned());
    pod.labels_mut().insert(label::INJECT.to_owned(), label_value::TRUE.to_owned());
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..CREATIONS {
        for (namespace, times) in [&with, &without].into_iter().zip(&mut times) {
            let pods = Api::<Pod>::namespaced(cluster.client()?, namespace.name());
            let start = Instant::now();
            let created = pods.create(&dry_run, &pod).await.context("creating a pod")?;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
            let admitted = created.labels().contains_key(label::ENROLLED);
            ensure!(
                admitted == (namespace.name() == with.name()),
                "a pod was admitted in the wrong namespace, or not admitted in the right one"
            );
        }
    }
    let [with, without] = times.map(median);
    Ok(with - without)
}
