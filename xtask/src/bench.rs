//! `cargo xtask bench`: measures the hot paths.

mod deliver;
mod environment;
mod plain_http;
mod process;
mod reaper;
mod server;
mod siege;
mod webhook;

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::Value;

use crate::{
    command::{root, run},
    image,
};

/// Measure a hot path
///
/// `judge` evaluates the decision table for 100,000 Jobs. `reaper` also measures the release build with 5,000 Jobs at a real API
/// server and 10,000 simulated sidecars. `webhook` measures admission: the handler alone, over TLS compared with a server that
/// does nothing, and at a real API server. `siege` attacks every port of every part at once from one pod, with 64, 1,000 and 10,000
/// connections, and measures probes, beats, reviews and memory meanwhile. `deliver` measures the delivery of notifications over HTTP and to a
/// real RabbitMQ, beside a sink that is down, and what stays of 100,000 outcomes. All but `judge` boot a cluster, which needs root.
/// docs/benchmarks.md explains the figures.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench judge
  cargo xtask bench webhook --json
  cargo xtask bench deliver --outcomes 10000    # a quick run: every number is a tenth")]
pub(crate) struct Args {
    /// The benchmark: judge, reaper, webhook, siege or deliver
    name: String,
    /// How many outcomes `deliver` records before it measures memory and storage; with fewer, its other numbers are smaller as well
    #[arg(long, value_name = "COUNT", default_value_t = deliver::OUTCOMES)]
    outcomes: usize,
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// A criterion benchmark and the figures that are derived from it.
struct Bench {
    name: &'static str,
    package: &'static str,
    /// Cargo's name of the criterion bench.
    criterion: &'static str,
    /// For each figure: criterion's name, the reported name, and the divisor of its nanoseconds.
    figures: &'static [(&'static str, &'static str, f64)],
}

const JUDGE: Bench = Bench {
    name: "judge",
    package: "jobwarden-core",
    criterion: "judge",
    figures: &[
        ("judge_100k", "judge_100k_ms", 1e6),
        ("reconcile_alive_1_job", "reconcile_alive_1_job_ms", 1e6),
        ("reconcile_alive_10k_jobs", "reconcile_alive_10k_jobs_ms", 1e6),
        ("reconcile_lost_1_job", "reconcile_lost_1_job_ms", 1e6),
        ("reconcile_lost_10k_jobs", "reconcile_lost_10k_jobs_ms", 1e6),
        ("pods_come_and_go_1_job", "pods_come_and_go_1_job_ms", 1e6),
        ("pods_come_and_go_10k_jobs", "pods_come_and_go_10k_jobs_ms", 1e6),
    ],
};

const BENCHES: [Bench; 3] = [
    JUDGE,
    Bench { name: "reaper", ..JUDGE },
    Bench {
        name: "webhook",
        package: "jobwarden-webhook",
        criterion: "webhook",
        figures: &[
            ("handler_minimal", "handler_us_minimal", 1e3),
            ("handler_typical", "handler_us_typical", 1e3),
            ("handler_large", "handler_us_large", 1e3),
        ],
    },
];

#[derive(Serialize)]
struct Report<'a> {
    bench: &'a str,
    figures: BTreeMap<String, f64>,
}

pub(crate) async fn run_one(args: Args) -> anyhow::Result<()> {
    let Args { name, outcomes, json } = &args;
    let figures = match name.as_str() {
        deliver::NAME => deliver::measure(*outcomes).await?,
        siege::NAME => owned(siege::measure().await?),
        name => owned(measure(name).await?),
    };
    if *json {
        println!("{}", serde_json::to_string(&Report { bench: name, figures })?);
    } else {
        for (figure, value) in figures {
            println!("{figure:<28} {value:>12.2}");
        }
    }
    Ok(())
}

fn owned(figures: BTreeMap<&str, f64>) -> BTreeMap<String, f64> {
    figures.into_iter().map(|(figure, value)| (figure.to_owned(), value)).collect()
}

async fn measure(name: &str) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        let known: Vec<_> = BENCHES.iter().map(|bench| bench.name).chain([siege::NAME, deliver::NAME]).collect();
        bail!("unknown benchmark {name:?}; choose one of {}", known.join(", "));
    };
    image::ensure_tools()?;
    run(image::cargo("bench").args(["--package", bench.package, "--bench", bench.criterion]))?;
    let figures = bench.figures.iter().map(|(criterion, ours, unit)| Ok((*ours, mean_ns(criterion)? / unit)));
    let mut figures = figures.collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    match bench.name {
        "reaper" => figures.extend(reaper::measure().await?),
        "webhook" => figures.extend(webhook::measure().await?),
        _ => {}
    }
    Ok(figures)
}

/// Criterion's estimate of the mean, in nanoseconds.
fn mean_ns(bench: &str) -> anyhow::Result<f64> {
    let path = root().join("target/criterion").join(bench).join("new/estimates.json");
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let estimates: Value = serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))?;
    estimates["mean"]["point_estimate"].as_f64().with_context(|| format!("no mean in {}", path.display()))
}
