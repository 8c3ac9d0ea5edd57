//! `cargo xtask demo`: shows on a real cluster how jobwarden handles the loss of a node.

mod crash;
mod existing;
mod kubernetes_alone;
mod ort;
mod output;
mod summary;
mod worker;

use std::path::PathBuf;

use anyhow::ensure;
use output::line;
use serde::Serialize;

/// Show what jobwarden does when the node of a batch job crashes
///
/// Boots a real Kubernetes of two nodes in network namespaces of this machine, builds jobwarden, installs it from its chart,
/// submits a worker Job as ORT Server does, and crashes the worker's node. Prints what jobwarden observes and does, up to the
/// notification that the orchestrator receives. Needs root, Linux, Go and Rust. Everything else is installed or built, which
/// takes a while the first time: building Kubernetes alone takes about ten minutes.
///
/// With --ort the orchestrator is at the other end of a real RabbitMQ: four workers as ORT Server starts them succeed, fail, run out of
/// memory and lose their node, the broker is killed in between, and a program with ORT Server's own libraries reads the queue.
#[derive(clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "\
Examples:
  cargo xtask demo                       # the demo, on its own cluster
  cargo xtask demo --keep                # leave the cluster running for inspection
  cargo xtask demo --compare             # also measure Kubernetes without jobwarden
  cargo xtask demo --ort                 # with ORT Server's side: RabbitMQ, and a reader of its queue
  cargo xtask demo --kubeconfig FILE     # the parts without a crash, on your cluster")]
pub(crate) struct Args {
    /// Print one line of JSON with the results in the end
    #[arg(long)]
    json: bool,
    /// Leave the cluster running, and print commands to inspect it
    #[arg(long, conflicts_with = "kubeconfig")]
    keep: bool,
    /// Also measure how Kubernetes alone handles the same crash, which takes about six more minutes
    #[arg(long, conflicts_with = "kubeconfig")]
    compare: bool,
    /// Show what ORT Server's orchestrator receives through RabbitMQ; needs rabbitmq-server, Java and Maven, which are installed if missing
    #[arg(long, conflicts_with_all = ["kubeconfig", "compare"])]
    ort: bool,
    /// Run the parts without a crash on the cluster of this kubeconfig, on which jobwarden is already installed
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The worker's image for --kubeconfig, in a registry that your cluster can pull from
    #[arg(long, value_name = "IMAGE", requires = "kubeconfig", default_value = jobwarden_tests::job::WORKER_IMAGE)]
    worker_image: String,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let Args { json, keep, compare, ort, kubeconfig, worker_image } = args;
    let (passed, summary) = match kubeconfig {
        _ if ort => result(&ort::run(keep).await?, |summary| summary.passed)?,
        Some(path) => result(&existing::run(&path, &worker_image).await?, |summary| summary.passed)?,
        None => result(&crash::run(keep, compare).await?, |summary| summary.passed)?,
    };
    if json {
        line(summary);
    }
    ensure!(passed, "the demo failed; see the lines marked ✗");
    Ok(())
}

/// Whether the demo passed, and the line of JSON.
fn result<T: Serialize>(summary: &T, passed: impl Fn(&T) -> bool) -> anyhow::Result<(bool, String)> {
    Ok((passed(summary), serde_json::to_string(summary)?))
}
