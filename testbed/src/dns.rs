//! The cluster's DNS server: the Kubernetes objects that run CoreDNS.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Context, Result};
use crate::layout::DNS_SERVICE;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "coredns";

/// CoreDNS resolves the cluster's own names only. Other names do not exist, because no packet leaves the cluster.
const COREFILE: &str = "\
.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        ttl 5
    }
    template ANY ANY {
        rcode NXDOMAIN
    }
    cache 5
}
";

/// Creates the DNS server's objects.
pub(crate) async fn deploy(client: &Client) -> Result<()> {
    let namespaced = json!({"name": NAME, "namespace": NAMESPACE});
    create::<ServiceAccount>(&namespace(client), json!({"metadata": namespaced})).await?;
    create::<ClusterRole>(
        &Api::all(client.clone()),
        json!({
            "metadata": {"name": "system:coredns"},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        }),
    )
    .await?;
    create::<ClusterRoleBinding>(
        &Api::all(client.clone()),
        json!({
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        }),
    )
    .await?;
    create::<ConfigMap>(&namespace(client), json!({"metadata": namespaced, "data": {"Corefile": COREFILE}})).await?;
    create::<Service>(
        &namespace(client),
        json!({
            "metadata": {"name": "kube-dns", "namespace": NAMESPACE, "labels": {"k8s-app": "kube-dns"}},
            "spec": {
                "clusterIP": DNS_SERVICE.to_string(),
                "selector": {"k8s-app": "kube-dns"},
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            },
        }),
    )
    .await?;
    create::<Deployment>(&namespace(client), deployment()).await
}

/// Whether the DNS server is available.
pub(crate) async fn is_ready(client: &Client) -> Result<bool> {
    let deployment =
        namespace::<Deployment>(client).get(NAME).await.context(|| "reading the DNS server's Deployment")?;
    Ok(deployment.status.and_then(|status| status.available_replicas).unwrap_or(0) > 0)
}

/// The pod runs on the first node and is never evicted, so DNS keeps working when a test crashes another node.
fn deployment() -> Value {
    json!({
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"k8s-app": "kube-dns"}},
        "spec": {
            "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
            "template": {
                "metadata": {"labels": {"k8s-app": "kube-dns"}},
                "spec": {
                    "serviceAccountName": NAME,
                    "priorityClassName": "system-cluster-critical",
                    "dnsPolicy": "Default",
                    "nodeSelector": {"kubernetes.io/hostname": "node-1"},
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{
                        "name": NAME,
                        "image": crate::images::COREDNS,
                        "imagePullPolicy": "Never",
                        "args": ["-conf", "/etc/coredns/Corefile"],
                        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
                        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
                    }],
                    "volumes": [{"name": "config", "configMap": {"name": NAME}}],
                },
            },
        },
    })
}

fn namespace<K>(client: &Client) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(client.clone(), NAMESPACE)
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let object: K = serde_json::from_value(object).expect("the objects in this module match their types");
    api.create(&PostParams::default(), &object)
        .await
        .context(|| format!("creating the DNS server's {}", K::kind(&())))?;
    Ok(())
}
