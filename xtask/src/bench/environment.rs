//! The cluster with jobwarden, and the number of requests that the measured reaper sends to the API server.

use std::path::Path;

use anyhow::Context as _;
use jobwarden_common::names::{GROUP, object};
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
use serde_json::{Value, json};
use tempfile::TempDir;

/// Before the names of the schemas by which the API server counts the reaper's requests, except watches.
const FLOW: &str = "jobwarden-bench";
/// The `FlowSchema` of its writes to Jobs, pods, outcomes and Events.
const WRITES: &str = "jobwarden-bench-writes";
/// The `FlowSchema` of everything else.
const OTHERS: &str = "jobwarden-bench-others";

/// The API server's default priority level for requests of service accounts (`flowcontrol/bootstrap`).
const PRIORITY: &str = "workload-low";

/// The cluster of the benchmark.
pub(super) struct BenchEnvironment {
    pub(super) cluster: Cluster,
    pub(super) client: Client,
    /// The receiver of what the installed reapers send.
    pub(super) receiver: Receiver,
    /// For files that the processes read.
    pub(super) folder: TempDir,
}

impl BenchEnvironment {
    /// Boots the cluster called `name` and installs jobwarden.
    pub(super) async fn start(name: &str, settings: &Settings) -> anyhow::Result<Self> {
        let cluster = Cluster::up(&ClusterConfig::new(name).nodes(1)).await?;
        for archive in install::images()? {
            cluster.import_image(&archive).await?;
        }
        let receiver = Receiver::start(cluster.listen(0).await?)?;
        install::install(&cluster, settings, &receiver).await?;
        let (client, folder) = (cluster.client()?, tempfile::tempdir().context("creating a temporary folder")?);
        let environment = Self { cluster, client, receiver, folder };
        environment.count_requests().await?;
        Ok(environment)
    }

    /// Stops the installed reapers, so that the measured one leads.
    pub(super) async fn stop_reapers(&self) -> anyhow::Result<()> {
        let _step = progress::step("stopping the installed reapers");
        self.kubectl("scale deployment jobwarden-reaper --replicas=0").await?;
        let gone = "wait --for=delete pod --selector=app.kubernetes.io/name=jobwarden-reaper --timeout=60s";
        self.kubectl(gone).await
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
        let writes = ["create", "update", "patch", "delete", "deletecollection"];
        let groups = json!(["", "batch", "events.k8s.io", GROUP]);
        let on = |verbs: &[&str], groups: &Value| json!({"verbs": verbs, "apiGroups": groups, "resources": all, "namespaces": all, "clusterScope": true});
        let others = [&["get", "list"], &writes[..]].concat();
        // Before every other schema that might match. 1 is reserved for exempt requests.
        self.count_flow(WRITES, 2, &[on(&writes, &groups)], &[]).await?;
        let paths = json!({"verbs": all, "nonResourceURLs": all});
        self.count_flow(OTHERS, 3, &[on(&others, &all)], &[paths]).await
    }

    async fn count_flow(
        &self,
        name: &str,
        precedence: u32,
        resources: &[Value],
        paths: &[Value],
    ) -> anyhow::Result<()> {
        let flow: FlowSchema = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "priorityLevelConfiguration": {"name": PRIORITY},
                "matchingPrecedence": precedence,
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [{
                    "subjects": [{
                        "kind": "ServiceAccount",
                        "serviceAccount": {"namespace": NAMESPACE, "name": object::REAPER_SERVICE}
                    }],
                    "resourceRules": resources,
                    "nonResourceRules": paths
                }]
            }
        }))?;
        let flows = Api::<FlowSchema>::all(self.client.clone());
        flows.create(&PostParams::default(), &flow).await.context("creating a FlowSchema")?;
        Ok(())
    }

    /// The number of requests that the reaper has sent, except watches.
    pub(super) async fn requests(&self) -> anyhow::Result<f64> {
        self.dispatched(&format!("flow_schema=\"{FLOW}")).await
    }

    /// The number of its writes to Jobs, pods, outcomes and Events.
    pub(super) async fn writes(&self) -> anyhow::Result<f64> {
        self.dispatched(&format!("flow_schema=\"{WRITES}\"")).await
    }

    async fn dispatched(&self, flow: &str) -> anyhow::Result<f64> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = self.client.request_text(request).await.context("reading the API server's metrics")?;
        Ok(metrics::sum(&text, "apiserver_flowcontrol_dispatched_requests_total", flow))
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
