//! `cargo xtask demo`: the main job on a real cluster, told as it happens.

mod crash;
mod existing;
mod kubernetes_alone;
mod story;
mod worker;

use std::path::PathBuf;

use anyhow::ensure;
use serde::Serialize;
use story::say;

/// Shows what jobwarden does when the node of a batch job dies.
///
/// Boots a real Kubernetes of two nodes in network namespaces of this machine, builds jobwarden and installs it from its
/// chart, submits a worker Job as ORT Server would, crashes the worker's node and tells what jobwarden saw and did, down
/// to the notification the orchestrator gets. Needs root, Linux, Go and Rust; everything else it installs or builds
/// itself, which takes a while the first time.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// End with one line of JSON that sums up the run
    #[arg(long)]
    json: bool,
    /// Leave the cluster up and say how to look around
    #[arg(long, conflicts_with = "kubeconfig")]
    keep: bool,
    /// Measure what Kubernetes alone does with the same crash as well, which takes about six minutes more
    #[arg(long, conflicts_with = "kubeconfig")]
    compare: bool,
    /// Run the parts that need no crash on the cluster of this kubeconfig, where jobwarden is installed already
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The worker's image, for --kubeconfig: a registry your cluster pulls from has to hold it
    #[arg(long, value_name = "IMAGE", requires = "kubeconfig", default_value = jobwarden_tests::job::WORKER_IMAGE)]
    worker_image: String,
}

/// What the run showed; the line of JSON. A figure that was not measured is null.
#[derive(Debug, Default, Serialize)]
struct Summary {
    injected: bool,
    run_id: Option<String>,
    job_id: Option<String>,
    beats: u64,
    lost_after_s: Option<f64>,
    detected_after_s: Option<f64>,
    failed_after_s: Option<f64>,
    notified: Option<u32>,
    reason: Option<String>,
    peak_rss_bytes: Option<u64>,
    cleaned: Option<bool>,
    passed: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let Args { json, keep, compare, kubeconfig, worker_image } = args;
    let summary = match kubeconfig {
        Some(path) => existing::run(&path, &worker_image).await?,
        None => crash::run(keep, compare).await?,
    };
    if json {
        say(serde_json::to_string(&summary)?);
    }
    ensure!(summary.passed, "the demo did not show what it should; the lines marked ✗ say what");
    Ok(())
}
