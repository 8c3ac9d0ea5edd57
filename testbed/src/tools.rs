//! Running kubectl, helm and other programs against the cluster.

use std::process::Command;

use crate::cluster::{Cluster, Shared};
use crate::command::{run, run_with_input};
use crate::error::Result;
use crate::layout::Machine;

impl Cluster {
    /// Runs `kubectl` and returns what it wrote to stdout.
    pub async fn kubectl<I, S>(&self, arguments: I) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let arguments: Vec<String> = arguments.into_iter().map(Into::into).collect();
        self.blocking(move |shared| run(shared.tool("kubectl").args(arguments))).await
    }

    /// Applies a manifest, as `kubectl apply --filename -` does.
    pub async fn apply(&self, manifest: &str) -> Result<String> {
        let manifest = manifest.to_owned();
        self.blocking(move |shared| run_with_input(shared.tool("kubectl").args(["apply", "-f", "-"]), &manifest)).await
    }

    /// Runs `helm` and returns what it wrote to stdout.
    pub async fn helm<I, S>(&self, arguments: I) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let arguments: Vec<String> = arguments.into_iter().map(Into::into).collect();
        self.blocking(move |shared| run(shared.tool("helm").args(arguments))).await
    }

    /// The command that runs `kubectl` or `helm` on this cluster. The caller adds arguments and starts it.
    pub fn tool(&self, name: &str) -> Command {
        self.shared.tool(name)
    }

    /// The command that runs `program` in the control plane's network namespace, with its own loopback and the
    /// administrator's kubeconfig.
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.shared.program(program)
    }

    /// The URL at which this process reaches the API server.
    pub fn api_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.shared.forwarder.port())
    }
}

impl Shared {
    /// Enters only the network namespace, so paths on the command line are those of the caller.
    fn tool(&self, name: &str) -> Command {
        let state = self.layout.state();
        let mut command = if name == "kubectl" {
            let mut command = self.program(self.programs.join("kubernetes"));
            command.arg("kubectl");
            command
        } else {
            self.program(self.programs.join(name))
        };
        command
            .env("KUBECACHEDIR", state.join("kubectl-cache"))
            .env("HELM_CACHE_HOME", state.join("helm/cache"))
            .env("HELM_CONFIG_HOME", state.join("helm/config"))
            .env("HELM_DATA_HOME", state.join("helm/data"));
        command
    }

    fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.layout.netns(Machine::ControlPlane).display()))
            .arg(program)
            .env("KUBECONFIG", self.layout.kubeconfig());
        for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(proxy);
        }
        command
    }
}
