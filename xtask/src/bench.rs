//! `cargo xtask bench`: figures of the hot paths.

mod process;
mod reaper;
mod webhook;

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::Value;

use crate::{
    command::{root, run},
    image,
};

/// Measure a hot path: `judge`, one pass of the decision table over 100,000 Jobs; `reaper`, the same, and the program that ships with
/// 5,000 Jobs at a real API server and 10,000 sidecars; `webhook`, admission: the handler alone, over TLS beside a server that does
/// nothing, and at the real API server
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which one
    name: String,
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
}

/// A criterion bench and the figures that are made of it.
struct Bench {
    name: &'static str,
    package: &'static str,
    /// Cargo's name of the criterion bench.
    criterion: &'static str,
    /// Criterion's name, ours, and what nanoseconds are divided by for it.
    figures: &'static [(&'static str, &'static str, f64)],
}

const JUDGE: Bench = Bench {
    name: "judge",
    package: "jobwarden-reaper",
    criterion: "judge",
    figures: &[("judge_100k", "judge_100k_ms", 1e6)],
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
    figures: BTreeMap<&'a str, f64>,
}

pub(crate) async fn run_one(args: Args) -> anyhow::Result<()> {
    let Args { name, json } = &args;
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        let known: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
        bail!("there is no bench {name:?}; there are {}", known.join(", "));
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
    if *json {
        println!("{}", serde_json::to_string(&Report { bench: name, figures })?);
    } else {
        for (figure, value) in figures {
            println!("{figure:<28} {value:>12.2}");
        }
    }
    Ok(())
}

/// Criterion's estimate of the mean, in nanoseconds.
fn mean_ns(bench: &str) -> anyhow::Result<f64> {
    let path = root().join("target/criterion").join(bench).join("new/estimates.json");
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let estimates: Value = serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))?;
    estimates["mean"]["point_estimate"].as_f64().with_context(|| format!("no mean in {}", path.display()))
}
