//! `cargo xtask cluster`: a real Kubernetes of several nodes on this machine.

use std::ffi::OsString;
use std::io::{Write, stdout};
use std::os::unix::process::CommandExt;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use jobwarden_testbed::{Cluster, ClusterConfig, MAX_NODES, tear_down_on_signals};

/// Builds and boots a real Kubernetes of one to four nodes on this machine.
///
/// Every node has network, process and mount namespaces of its own, so this needs root and nothing else: no Docker, no
/// virtual machines, no download but of sources. The first `up` builds Kubernetes, which takes about ten minutes;
/// after that a cluster is up in less than 20 seconds.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask cluster up --nodes 3
  cargo xtask cluster kubectl get pods --all-namespaces
  cargo xtask cluster up --name other      # beside the first one
  cargo xtask cluster status
  cargo xtask cluster --name other helm list
  cargo xtask cluster down --all")]
pub(crate) struct Args {
    /// The cluster's name; clusters of different names live side by side.
    #[arg(long, global = true, default_value = "dev", env = "JOBWARDEN_CLUSTER")]
    name: String,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Boots the cluster, which then runs until `down`; one of the same name is replaced.
    Up {
        /// The number of nodes, called node-1, node-2, ….
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
        nodes: u8,
    },
    /// Ends the cluster and removes every trace of it.
    Down {
        /// End all clusters on this machine.
        #[arg(long)]
        all: bool,
    },
    /// Shows the clusters that run here, their machines, nodes and pods.
    Status,
    /// Runs kubectl on the cluster. The cluster's own flags stand before the word `kubectl`.
    Kubectl(Tool),
    /// Runs helm on the cluster. The cluster's own flags stand before the word `helm`.
    Helm(Tool),
    /// Crashes a node as a power cut would.
    Crash(NodeArgs),
    /// Boots a node that was crashed, and waits until it is ready.
    StartNode(NodeArgs),
    /// Cuts a node off the network; what runs on it runs on.
    Partition(NodeArgs),
    /// Ends a partition.
    Heal(NodeArgs),
    /// Gives every node the image in an OCI archive.
    Import {
        /// The archive.
        archive: std::path::PathBuf,
    },
}

#[derive(clap::Args)]
struct NodeArgs {
    /// The node's name, such as node-2.
    node: String,
}

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
struct Tool {
    /// What to pass on.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// How long a node that boots may take to be ready.
const NODE_BOOT: Duration = Duration::from_mins(2);

/// Runs the verb.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let Args { name, verb } = args;
    match verb {
        Verb::Up { nodes } => up(&name, nodes).await,
        Verb::Down { all } => down(name, all).await,
        Verb::Status => status().await,
        Verb::Kubectl(tool) => exec(&name, "kubectl", tool).await,
        Verb::Helm(tool) => exec(&name, "helm", tool).await,
        Verb::Crash(NodeArgs { node }) => Ok(Cluster::attach(&name).await?.crash(&node).await?),
        Verb::StartNode(NodeArgs { node }) => {
            let cluster = Cluster::attach(&name).await?;
            cluster.start_node(&node).await?;
            Ok(cluster.wait_for_node(&node, true, NODE_BOOT).await?)
        }
        Verb::Partition(NodeArgs { node }) => Ok(Cluster::attach(&name).await?.partition(&node).await?),
        Verb::Heal(NodeArgs { node }) => Ok(Cluster::attach(&name).await?.heal(&node).await?),
        Verb::Import { archive } => Ok(Cluster::attach(&name).await?.import_image(&archive).await?),
    }
}

async fn up(name: &str, nodes: u8) -> anyhow::Result<()> {
    tear_down_on_signals();
    let cluster = Cluster::up(&ClusterConfig::new(name).nodes(nodes)).await?.keep();
    let flag = if name == "dev" { String::new() } else { format!("--name {name} ") };
    writeln!(
        stdout(),
        "cluster {name} is up: {}\n\
         use it with  cargo xtask cluster {flag}kubectl get nodes\n\
         logs are in  {}\n\
         end it with  cargo xtask cluster {flag}down",
        cluster.node_names().join(", "),
        cluster.logs_folder().display(),
    )?;
    Ok(())
}

async fn down(name: String, all: bool) -> anyhow::Result<()> {
    let names = if all { Cluster::names() } else { vec![name] };
    for name in names {
        let what = if Cluster::remove(&name).await? { "is gone" } else { "was not there" };
        writeln!(stdout(), "cluster {name} {what}")?;
    }
    Ok(())
}

async fn status() -> anyhow::Result<()> {
    let names = Cluster::names();
    if names.is_empty() {
        writeln!(stdout(), "no cluster is running; `cargo xtask cluster up` starts one")?;
    }
    for name in names {
        match Cluster::attach(&name).await {
            Ok(cluster) => show(&cluster).await?,
            Err(error) => writeln!(stdout(), "cluster {name}: {error}")?,
        }
    }
    Ok(())
}

async fn show(cluster: &Cluster) -> anyhow::Result<()> {
    writeln!(stdout(), "cluster {} (logs in {})", cluster.name(), cluster.logs_folder().display())?;
    for (machine, state) in cluster.machines() {
        writeln!(stdout(), "  {machine:<14} {state}")?;
    }
    for what in ["nodes", "pods"] {
        let timeout = "--request-timeout=5s";
        match cluster.kubectl(["get", what, "--all-namespaces", "--output=wide", timeout]).await {
            Ok(table) => writeln!(stdout(), "{table}")?,
            Err(error) => writeln!(stdout(), "  {error}")?,
        }
    }
    Ok(())
}

/// Becomes the program, so that it has this terminal and its status is the command's.
async fn exec(name: &str, program: &str, tool: Tool) -> anyhow::Result<()> {
    let Tool { arguments } = tool;
    let cluster = Cluster::attach(name).await?;
    let mut command = cluster.tool(program);
    Err(command.args(arguments).exec()).with_context(|| format!("starting {program}"))
}
