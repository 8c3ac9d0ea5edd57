//! The cluster with jobwarden but without its reapers, and the number of requests that the measured reaper sends to the API
//! server.

use std::path::Path;

use anyhow::Context as _;
use jobwarden_common::names::object;
use jobwarden_testbed::{Cluster, ClusterConfig, progress};
use jobwarden_tests::{
    install::{self, NAMESPACE, Settings},
    metrics,
    receiver::Receiver,
};
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{Pod, Secret, ServiceAccount},
    flowcontrol::v1::FlowSchema,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, PostParams},
};
use serde_json::json;
use tempfile::TempDir;

/// The `FlowSchema` by which the API server counts the reaper's requests, except watches.
const FLOW: &str = "jobwarden-bench";

/// The API server's default priority level for requests of service accounts (`flowcontrol/bootstrap`).
const PRIORITY: &str = "workload-low";

/// The cluster of the benchmark.
pub(super) struct BenchEnvironment {
    pub(super) cluster: Cluster,
    pub(super) client: Client,
    /// For files that the processes read.
    pub(super) folder: TempDir,
}

impl BenchEnvironment {
    /// Boots the cluster, installs jobwarden, and stops the installed reapers.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let cluster = Cluster::up(&ClusterConfig::new("bench-reaper").nodes(1)).await?;
        for archive in install::images()? {
            cluster.import_image(&archive).await?;
        }
        let receiver = Receiver::start(cluster.listen(0).await?)?;
        install::install(&cluster, &Settings::default(), &receiver).await?;
        let client = cluster.client()?;
        let environment = Self { cluster, client, folder: tempfile::tempdir().context("creating a temporary folder")? };
        let _step = progress::step("stopping the installed reapers");
        environment.kubectl("scale deployment jobwarden-reaper --replicas=0").await?;
        let gone = "wait --for=delete pod --selector=app.kubernetes.io/name=jobwarden-reaper --timeout=60s";
        environment.kubectl(gone).await?;
        environment.count_requests().await?;
        Ok(environment)
    }

    /// Runs kubectl in jobwarden's namespace, with arguments that contain no spaces.
    async fn kubectl(&self, arguments: &str) -> anyhow::Result<()> {
        let namespace = format!("--namespace={NAMESPACE}");
        self.cluster.kubectl(arguments.split(' ').chain([namespace.as_str()])).await?;
        Ok(())
    }

    /// Makes the API server count the reaper's requests separately.
    async fn count_requests(&self) -> anyhow::Result<()> {
        let all = json!(["*"]);
        let verbs = ["get", "list", "create", "update", "patch", "delete", "deletecollection"];
        let flow: FlowSchema = serde_json::from_value(json!({
            "metadata": {"name": FLOW},
            "spec": {
                "priorityLevelConfiguration": {"name": PRIORITY},
                // Before every other schema that might match. 1 is reserved for exempt requests.
                "matchingPrecedence": 2,
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [{
                    "subjects": [{
                        "kind": "ServiceAccount",
                        "serviceAccount": {"namespace": NAMESPACE, "name": object::REAPER_SERVICE}
                    }],
                    "resourceRules": [
                        {"verbs": verbs, "apiGroups": all, "resources": all, "namespaces": all, "clusterScope": true}
                    ],
                    "nonResourceRules": [{"verbs": all, "nonResourceURLs": all}]
                }]
            }
        }))?;
        let flows = Api::<FlowSchema>::all(self.client.clone());
        flows.create(&PostParams::default(), &flow).await.context("creating a FlowSchema")?;
        Ok(())
    }

    /// The number of requests that the reaper has sent, except watches.
    pub(super) async fn requests(&self) -> anyhow::Result<f64> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = self.client.request_text(request).await.context("reading the API server's metrics")?;
        let flow = format!("flow_schema=\"{FLOW}\"");
        Ok(metrics::sum(&text, "apiserver_flowcontrol_dispatched_requests_total", &flow))
    }

    /// A service account token from the API server: for the API server itself, or for another audience and bound to a pod.
    pub(super) async fn token(
        &self,
        namespace: &str,
        account: &str,
        bound: Option<(&Pod, &str)>,
    ) -> anyhow::Result<String> {
        let mut spec = json!({"audiences": [], "expirationSeconds": 3600});
        if let Some((pod, audience)) = bound {
            spec["audiences"] = json!([audience]);
            spec["boundObjectRef"] =
                json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid()});
        }
        let request: TokenRequest = serde_json::from_value(json!({"spec": spec}))?;
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), namespace);
        let created = accounts.create_token_request(account, &PostParams::default(), &request).await;
        let created = created.with_context(|| format!("requesting a token of {namespace}/{account}"))?;
        Ok(created.status.context("the API server returned no token")?.token)
    }

    /// A pod of the webhook. It stands in for the reaper's own pod, because the measured reaper does not run in a pod.
    pub(super) async fn own_pod(&self) -> anyhow::Result<Pod> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), NAMESPACE);
        let label = format!("app.kubernetes.io/name={}", object::WEBHOOK_SERVICE);
        let pods = pods.list(&ListParams::default().labels(&label)).await.context("listing pods of the webhook")?;
        pods.items.into_iter().next().context("the webhook has no pod")
    }

    /// The CA certificate that the reaper's clients trust, PEM.
    pub(super) async fn authority(&self) -> anyhow::Result<Vec<u8>> {
        let secret = Api::<Secret>::namespaced(self.client.clone(), NAMESPACE).get(object::CA_SECRET).await?;
        Ok(secret.data.and_then(|mut data| data.remove("tls.crt")).context("the CA Secret has no tls.crt")?.0)
    }

    /// Writes a file for a process to read, and returns its path as text.
    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<String> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        text_of(&path)
    }

    pub(super) async fn tear_down(self) -> anyhow::Result<()> {
        Ok(self.cluster.down().await?)
    }
}

/// A path as a command line argument.
pub(super) fn text_of(path: &Path) -> anyhow::Result<String> {
    Ok(path.to_str().with_context(|| format!("{} is not valid UTF-8", path.display()))?.to_owned())
}
