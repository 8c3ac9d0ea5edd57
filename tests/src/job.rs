//! Jobs whose worker does what a test wants: touch memory, run for a while, exit.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::batch::v1::Job;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use jobwarden_testbed::Process;

/// The image of the worker that `cargo xtask image` builds from `tests/worker`.
pub const WORKER_IMAGE: &str = "jobwarden.io/test-worker:dev";

/// Ends the work of a running worker with SIGUSR1: it exits as if its time were over. A test that needs a live worker until
/// then runs it for [`ENDLESS`](crate::environment::ENDLESS), because no shorter time is long enough on every machine.
pub fn finish(worker: Process) -> anyhow::Result<()> {
    ensure!(worker.is_alive(), "the worker ended too early");
    Ok(worker.signal(Signal::SIGUSR1)?)
}

/// A builder of a Job with one worker.
#[derive(Clone, Debug)]
pub struct Worker {
    name: String,
    arguments: Vec<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    node: Option<String>,
    node_required: bool,
    backoff_limit: u32,
    restarting: bool,
    suspended: bool,
    grace_seconds: u32,
    image: String,
    memory_limit_mebibytes: Option<u32>,
}

impl Worker {
    /// A worker that touches `mebibytes` of memory and then runs for `duration`. It is not retried.
    pub fn new(name: &str, mebibytes: u32, duration: Duration) -> Self {
        let arguments = vec![format!("--touch={mebibytes}Mi"), format!("--for={}s", duration.as_secs())];
        Self {
            name: name.to_owned(),
            arguments,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            env: BTreeMap::new(),
            node: None,
            node_required: true,
            backoff_limit: 0,
            restarting: false,
            suspended: false,
            grace_seconds: 5,
            image: WORKER_IMAGE.to_owned(),
            memory_limit_mebibytes: None,
        }
    }

    /// Adds an argument of the worker program.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a label of the Job.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets an annotation of the Job and its pods.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets a variable in the worker's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Requires this node for its pods.
    #[must_use]
    pub fn on_node(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// Prefers this node for its pods.
    #[must_use]
    pub fn near_node(self, node: &str) -> Self {
        Self { node_required: false, ..self.on_node(node) }
    }

    /// Sets the number of retries (`backoffLimit`).
    #[must_use]
    pub fn retries(mut self, limit: u32) -> Self {
        self.backoff_limit = limit;
        self
    }

    /// Lets the kubelet restart failed containers in place (`restartPolicy: OnFailure`).
    #[must_use]
    pub fn restarting(self) -> Self {
        Self { restarting: true, ..self }
    }

    /// Creates the Job suspended.
    #[must_use]
    pub fn suspended(mut self) -> Self {
        self.suspended = true;
        self
    }

    /// Sets how long its pod may take to end.
    #[must_use]
    pub fn grace(self, seconds: u32) -> Self {
        Self { grace_seconds: seconds, ..self }
    }

    /// Sets another image.
    #[must_use]
    pub fn image(self, image: &str) -> Self {
        Self { image: image.to_owned(), ..self }
    }

    /// Sets the worker's memory limit.
    #[must_use]
    pub fn memory_limit(self, mebibytes: u32) -> Self {
        Self { memory_limit_mebibytes: Some(mebibytes), ..self }
    }

    /// The Job's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Job. It satisfies Pod Security `restricted`.
    pub fn job(&self) -> Job {
        let env: Vec<Value> = self.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let at = self.node.iter().map(
            |node| json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}),
        );
        let affinity = if self.node_required {
            let terms: Vec<Value> = at.collect();
            (!terms.is_empty())
                .then(|| json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}))
        } else {
            let terms: Vec<Value> = at.map(|at| json!({"weight": 100, "preference": at})).collect();
            Some(json!({"preferredDuringSchedulingIgnoredDuringExecution": terms}))
        };
        let limits = self.memory_limit_mebibytes.map(|limit| json!({"limits": {"memory": format!("{limit}Mi")}}));
        let job = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": self.name, "labels": self.labels, "annotations": self.annotations},
            "spec": {
                "backoffLimit": self.backoff_limit,
                "suspend": self.suspended,
                "template": {
                    "metadata": {"labels": self.labels, "annotations": self.annotations},
                    "spec": {
                        "restartPolicy": if self.restarting { "OnFailure" } else { "Never" },
                        "affinity": {"nodeAffinity": affinity},
                        "terminationGracePeriodSeconds": self.grace_seconds,
                        "securityContext": {
                            "runAsNonRoot": true,
                            "runAsUser": 65532,
                            "seccompProfile": {"type": "RuntimeDefault"}
                        },
                        "containers": [{
                            "name": "worker",
                            "image": self.image,
                            "imagePullPolicy": "IfNotPresent",
                            "args": self.arguments,
                            "env": env,
                            "resources": limits,
                            "securityContext": {
                                "allowPrivilegeEscalation": false,
                                "capabilities": {"drop": ["ALL"]}
                            }
                        }]
                    }
                }
            }
        });
        serde_json::from_value(job).expect("the literal above is a Job")
    }
}
