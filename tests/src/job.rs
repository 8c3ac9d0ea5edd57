//! Jobs whose worker does what a test wants: touch memory, last, end.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::batch::v1::Job;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cluster::Process;

/// The image of the worker that `cargo xtask image` builds from `tests/worker`.
pub const WORKER_IMAGE: &str = "jobwarden.io/test-worker:dev";

/// Tells a worker at work that it is done: it ends as if its time had come. A test that needs a worker to live until then lets
/// it work for [`ENDLESS`](crate::ground::ENDLESS), since no other time is long enough on every machine.
pub fn finish(worker: Process) -> anyhow::Result<()> {
    ensure!(worker.is_alive(), "the worker has ended before its work was done");
    Ok(worker.signal(Signal::SIGUSR1)?)
}

/// A Job of one worker, in the making.
#[derive(Clone, Debug)]
pub struct Worker {
    name: String,
    arguments: Vec<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    node: Option<String>,
    node_is_a_must: bool,
    backoff_limit: u32,
    suspended: bool,
    image: String,
    most_mebibytes: Option<u32>,
}

impl Worker {
    /// A worker that touches `mebibytes` of memory and then works for `lasting`. It is not retried.
    pub fn new(name: &str, mebibytes: u32, lasting: Duration) -> Self {
        let arguments = vec![format!("--touch={mebibytes}Mi"), format!("--for={}s", lasting.as_secs())];
        Self {
            name: name.to_owned(),
            arguments,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            env: BTreeMap::new(),
            node: None,
            node_is_a_must: true,
            backoff_limit: 0,
            suspended: false,
            image: WORKER_IMAGE.to_owned(),
            most_mebibytes: None,
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

    /// Lets its pods run on this node only.
    #[must_use]
    pub fn on_node(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// Lets its pods run on this node if it is well.
    #[must_use]
    pub fn near_node(self, node: &str) -> Self {
        Self { node_is_a_must: false, ..self.on_node(node) }
    }

    /// How many failed pods are retried.
    #[must_use]
    pub fn retries(mut self, limit: u32) -> Self {
        self.backoff_limit = limit;
        self
    }

    /// Creates the Job suspended.
    #[must_use]
    pub fn suspended(mut self) -> Self {
        self.suspended = true;
        self
    }

    /// Sets another image.
    #[must_use]
    pub fn image(self, image: &str) -> Self {
        Self { image: image.to_owned(), ..self }
    }

    /// Limits the worker's memory.
    #[must_use]
    pub fn at_most(self, mebibytes: u32) -> Self {
        Self { most_mebibytes: Some(mebibytes), ..self }
    }

    /// The Job's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Job as it is submitted. It satisfies Pod Security `restricted`.
    pub fn job(&self) -> Job {
        let env: Vec<Value> = self.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let at = self.node.iter().map(
            |node| json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}),
        );
        let affinity = if self.node_is_a_must {
            let terms: Vec<Value> = at.collect();
            (!terms.is_empty())
                .then(|| json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}))
        } else {
            let terms: Vec<Value> = at.map(|at| json!({"weight": 100, "preference": at})).collect();
            Some(json!({"preferredDuringSchedulingIgnoredDuringExecution": terms}))
        };
        let limits = self.most_mebibytes.map(|most| json!({"limits": {"memory": format!("{most}Mi")}}));
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
                        "restartPolicy": "Never",
                        "affinity": {"nodeAffinity": affinity},
                        "terminationGracePeriodSeconds": 5,
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
        serde_json::from_value(job).expect("the literal above has the shape of a Job")
    }
}
