//! `cargo xtask cluster`: a real Kubernetes with several nodes on this machine.

use std::ffi::OsString;
use std::io::{Write, stdout};
use std::os::unix::process::CommandExt;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Subcommand;
use jobwarden_testbed::{Cluster, ClusterConfig, ClusterError, MAX_NODES, tear_down_on_signals};

/// Boot and use a real Kubernetes of one to four nodes on this machine
///
/// Every node has its own network, process and mount namespaces. This needs root on Linux, but no Docker and no virtual
/// machines. The first `up` builds Kubernetes from source, which takes about ten minutes. After that, a cluster boots in less
/// than 20 seconds. testbed/README.md explains what a cluster changes on the machine.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask cluster up --nodes 3
  cargo xtask cluster kubectl get pods --all-namespaces
  cargo xtask cluster up --name other      # a second cluster
  cargo xtask cluster crash node-2         # a power cut
  cargo xtask cluster status
  cargo xtask cluster --name other helm list
  cargo xtask cluster down --all")]
pub(crate) struct Args {
    /// The cluster's name; clusters of different names run side by side
    #[arg(long, global = true, default_value = "dev", env = "JOBWARDEN_CLUSTER")]
    name: String,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Boot the cluster, which runs until `down`; replaces a cluster of the same name
    Up {
        /// The number of nodes; they are called node-1, node-2, …
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
        nodes: u8,
    },
    /// Stop the cluster and remove everything that belongs to it
    Down {
        /// Stop all clusters on this machine
        #[arg(long)]
        all: bool,
    },
    /// Show all clusters on this machine with their machines, nodes and pods
    Status,
    /// Run kubectl on the cluster; put `--name` before the word `kubectl`
    Kubectl(Tool),
    /// Run helm on the cluster; put `--name` before the word `helm`
    Helm(Tool),
    /// Crash a node as a power cut does
    Crash(NodeArgs),
    /// Boot a crashed node and wait until it is ready
    StartNode(NodeArgs),
    /// Cut a node off the network; its processes keep running
    Partition(NodeArgs),
    /// End a partition
    Heal(NodeArgs),
    /// Import the image in an OCI archive on every node
    Import {
        /// The archive
        archive: std::path::PathBuf,
    },
}

#[derive(clap::Args)]
struct NodeArgs {
    /// The node's name, such as node-2
    node: String,
}

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
struct Tool {
    /// The arguments of the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// How long a booting node may take to become ready.
const NODE_BOOT: Duration = Duration::from_mins(2);

/// Runs the subcommand.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let Args { name, verb } = args;
    match verb {
        Verb::Up { nodes } => up(&name, nodes).await,
        Verb::Down { all } => down(name, all).await,
        Verb::Status => status().await,
        Verb::Kubectl(tool) => exec(&name, "kubectl", tool).await,
        Verb::Helm(tool) => exec(&name, "helm", tool).await,
        Verb::Crash(NodeArgs { node }) => Ok(attach(&name).await?.crash(&node).await?),
        Verb::StartNode(NodeArgs { node }) => {
            let cluster = attach(&name).await?;
            cluster.start_node(&node).await?;
            Ok(cluster.wait_for_node(&node, true, NODE_BOOT).await?)
        }
        Verb::Partition(NodeArgs { node }) => Ok(attach(&name).await?.partition(&node).await?),
        Verb::Heal(NodeArgs { node }) => Ok(attach(&name).await?.heal(&node).await?),
        Verb::Import { archive } => Ok(attach(&name).await?.import_image(&archive).await?),
    }
}

async fn up(name: &str, nodes: u8) -> anyhow::Result<()> {
    tear_down_on_signals();
    let cluster = Cluster::up(&ClusterConfig::new(name).nodes(nodes)).await?.keep();
    let flag = if name == "dev" { String::new() } else { format!("--name {name} ") };
    writeln!(
        stdout(),
        "cluster {name} is up: {}\n\
         use it:   cargo xtask cluster {flag}kubectl get nodes\n\
         logs:     {}\n\
         stop it:  cargo xtask cluster {flag}down",
        cluster.node_names().join(", "),
        cluster.logs_folder().display(),
    )?;
    Ok(())
}

async fn down(name: String, all: bool) -> anyhow::Result<()> {
    let names = if all { Cluster::names() } else { vec![name] };
    for name in names {
        let result = if Cluster::remove(&name).await? { "was removed" } else { "does not exist" };
        writeln!(stdout(), "cluster {name} {result}")?;
    }
    Ok(())
}

async fn attach(name: &str) -> anyhow::Result<Cluster> {
    Cluster::attach(name).await.map_err(|error| match error {
        ClusterError::NotRunning { .. } => anyhow!("{error}; start it with `cargo xtask cluster up --name {name}`"),
        other => other.into(),
    })
}

async fn status() -> anyhow::Result<()> {
    let names = Cluster::names();
    if names.is_empty() {
        writeln!(stdout(), "no cluster is running; `cargo xtask cluster up` starts one")?;
    }
    for name in names {
        match attach(&name).await {
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

/// Replaces this process with the program, which gets the terminal and determines the exit status.
async fn exec(name: &str, program: &str, tool: Tool) -> anyhow::Result<()> {
    let Tool { arguments } = tool;
    let cluster = attach(name).await?;
    let mut command = cluster.tool(program);
    Err(command.args(arguments).exec()).with_context(|| format!("starting {program}"))
}
