//! The cluster, jobwarden on it without its reapers, and the count of what the measured one asks of the API server.

use std::path::Path;

use anyhow::Context as _;
use jobwarden_common::names::object;
use jobwarden_tests::{
    cluster::{Cluster, ClusterConfig},
    install::{self, NAMESPACE, Settings},
    metrics, progress,
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

/// The flow of the API server's own accounting that holds the reaper's requests, but for its watches.
const FLOW: &str = "jobwarden-bench";

/// Where the API server puts requests of service accounts unless told otherwise (`flowcontrol/bootstrap`).
const PRIORITY: &str = "workload-low";

pub(super) struct Ground {
    pub(super) cluster: Cluster,
    pub(super) client: Client,
    /// For files that the processes read.
    pub(super) folder: TempDir,
}

impl Ground {
    /// Boots the cluster, installs jobwarden, and ends what is not measured or would disturb.
    pub(super) async fn lay() -> anyhow::Result<Self> {
        let cluster = Cluster::up(&ClusterConfig::new("bench-reaper").nodes(1)).await?;
        for archive in install::images()? {
            cluster.import_image(&archive).await?;
        }
        let receiver = Receiver::start(cluster.listen(0).await?)?;
        install::install(&cluster, &Settings::default(), &receiver).await?;
        let client = cluster.client()?;
        let ground = Self { cluster, client, folder: tempfile::tempdir().context("making a folder")? };
        let _step = progress::step("ending the installed reapers");
        ground.kubectl("scale deployment jobwarden-reaper --replicas=0").await?;
        let gone = "wait --for=delete pod --selector=app.kubernetes.io/name=jobwarden-reaper --timeout=60s";
        ground.kubectl(gone).await?;
        ground.count_requests().await?;
        Ok(ground)
    }

    /// Runs kubectl in jobwarden's namespace, with arguments that hold no blanks.
    async fn kubectl(&self, arguments: &str) -> anyhow::Result<()> {
        let namespace = format!("--namespace={NAMESPACE}");
        self.cluster.kubectl(arguments.split(' ').chain([namespace.as_str()])).await?;
        Ok(())
    }

    /// Has the API server count the reaper's requests apart from everybody else's.
    async fn count_requests(&self) -> anyhow::Result<()> {
        let all = json!(["*"]);
        let verbs = ["get", "list", "create", "update", "patch", "delete", "deletecollection"];
        let flow: FlowSchema = serde_json::from_value(json!({
            "metadata": {"name": FLOW},
            "spec": {
                "priorityLevelConfiguration": {"name": PRIORITY},
                // Before any other that might match it; 1 is kept for those that are exempt.
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

    /// How many requests the reaper has made, watches left out.
    pub(super) async fn requests(&self) -> anyhow::Result<f64> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = self.client.request_text(request).await.context("reading the API server's metrics")?;
        let flow = format!("flow_schema=\"{FLOW}\"");
        Ok(metrics::sum(&text, "apiserver_flowcontrol_dispatched_requests_total", &flow))
    }

    /// A token of a service account as the API server makes it: for itself, or for another audience and bound to a pod.
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
        let made = accounts.create_token_request(account, &PostParams::default(), &request).await;
        let made = made.with_context(|| format!("asking for a token of {namespace}/{account}"))?;
        Ok(made.status.context("no token was made")?.token)
    }

    /// A pod of the webhook, which stands for the reaper's own: that one runs as no pod.
    pub(super) async fn own_pod(&self) -> anyhow::Result<Pod> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), NAMESPACE);
        let label = format!("app.kubernetes.io/name={}", object::WEBHOOK_SERVICE);
        let pods = pods.list(&ListParams::default().labels(&label)).await.context("listing pods of the webhook")?;
        pods.items.into_iter().next().context("the webhook has no pod")
    }

    /// Whom clients of the reaper trust, PEM.
    pub(super) async fn authority(&self) -> anyhow::Result<Vec<u8>> {
        let secret = Api::<Secret>::namespaced(self.client.clone(), NAMESPACE).get(object::CA_SECRET).await?;
        Ok(secret.data.and_then(|mut data| data.remove("tls.crt")).context("an authority without tls.crt")?.0)
    }

    /// Writes a file for a process to read, and returns its path as text.
    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<String> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        text_of(&path)
    }

    pub(super) async fn clear(self) -> anyhow::Result<()> {
        Ok(self.cluster.down().await?)
    }
}

/// A path as an argument.
pub(super) fn text_of(path: &Path) -> anyhow::Result<String> {
    Ok(path.to_str().with_context(|| format!("{} is no text", path.display()))?.to_owned())
}
