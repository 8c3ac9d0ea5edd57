//! The facts of a node and of its Lease, read from the objects.

use std::sync::Arc;

use jiff::Timestamp;
use jobwarden_common::identity::NodeName;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};

/// The taint by which an administrator declares that a node is shut down (`corev1.TaintNodeOutOfService`).
const OUT_OF_SERVICE_TAINT: &str = "node.kubernetes.io/out-of-service";

/// The taint by which a cloud provider declares that the machine of a node that does not respond is shut down
/// (`TaintNodeShutdown` in `k8s.io/cloud-provider/api`).
const SHUTDOWN_TAINT: &str = "node.cloudprovider.kubernetes.io/shutdown";

/// The taints by which Kubernetes keeps new pods away from a node (`corev1.TaintNodeNotReady` and its like).
const AVOIDED_TAINTS: [&str; 5] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/unschedulable",
    OUT_OF_SERVICE_TAINT,
    SHUTDOWN_TAINT,
];

/// The label that names the zone of a node (`corev1.LabelTopologyZone`).
const ZONE: &str = "topology.kubernetes.io/zone";

/// The facts of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// `metadata.name`.
    pub name: NodeName,
    /// Its zone, where a label names it.
    pub zone: Option<Arc<str>>,
    /// Its health.
    pub health: Health,
    /// When its condition `Ready` last changed, by the clock of who wrote it: only compared with itself.
    pub changed: Option<Timestamp>,
    /// It is cordoned, not ready or shut down by its taints: the scheduler places no further pod on it, unless the pod tolerates that.
    pub avoided: bool,
    /// `status.nodeInfo.bootID`, which changes when the machine boots.
    pub boot_id: Option<Box<str>>,
}

/// The health of a node by the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Condition `Ready` is true.
    Ready,
    /// Condition `Ready` is false, unknown or absent.
    NotReady,
    /// It carries the taint `node.kubernetes.io/out-of-service`.
    OutOfService,
    /// It is not ready and carries the taint `node.cloudprovider.kubernetes.io/shutdown`.
    ShutDown,
}

impl NodeFacts {
    /// Reads a node. `None` without a name, which the API server never sends.
    pub fn read(node: &Node) -> Option<Self> {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
        let has = |key: &str| taints.iter().any(|taint| taint.key == key);
        let health = if has(OUT_OF_SERVICE_TAINT) {
            Health::OutOfService
        } else if ready.is_some_and(|condition| condition.status == "True") {
            Health::Ready
        } else if has(SHUTDOWN_TAINT) {
            Health::ShutDown
        } else {
            Health::NotReady
        };
        let zone = node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE)).map(|zone| zone.as_str().into());
        let changed = ready.and_then(|condition| condition.last_transition_time.as_ref()).map(|at| at.0);
        let keeps_away = |effect: &str| matches!(effect, "NoSchedule" | "NoExecute");
        let avoided = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
            || taints.iter().any(|taint| keeps_away(&taint.effect) && AVOIDED_TAINTS.contains(&taint.key.as_str()));
        let boot_id =
            node.status.as_ref().and_then(|status| status.node_info.as_ref()).map(|info| info.boot_id.as_str());
        let boot_id = boot_id.filter(|id| !id.is_empty()).map(Into::into);
        Some(Self { name: node.metadata.name.clone()?.into(), zone, health, changed, avoided, boot_id })
    }
}

/// The facts of the Lease of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseFacts {
    /// The node: the Lease has its name.
    pub node: NodeName,
    /// When the kubelet renewed it, by the node's own clock: only compared with itself.
    pub renewed: Option<Timestamp>,
}

impl LeaseFacts {
    /// Reads a Lease of the namespace `kube-node-lease`. `None` without a name.
    pub fn read(lease: &Lease) -> Option<Self> {
        let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
        Some(Self { node: lease.metadata.name.clone()?.into(), renewed })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn mk_node(ready: &str, taints: &Value) -> Node {
        let node = json!({
            "metadata": {"name": "node-1", "uid": "n1", "labels": {"topology.kubernetes.io/zone": "a"}},
            "spec": {"podCIDR": "10.244.1.0/24", "taints": taints},
            "status": {"conditions": [
                {"type": "MemoryPressure", "status": "False"},
                {"type": "Ready", "status": ready, "reason": "KubeletReady"},
            ]},
        });
        serde_json::from_value(node).expect("a node")
    }

    #[rstest]
    #[case::ready("True", json!(null), Health::Ready)]
    #[case::not_ready("False", json!(null), Health::NotReady)]
    #[case::unknown("Unknown", json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]), Health::NotReady)]
    #[case::cordoned("True", json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]), Health::Ready)]
    #[case::off("Unknown", json!([{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}]), Health::OutOfService)]
    #[case::off_though_ready("True", json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoSchedule"}]), Health::OutOfService)]
    #[case::shut_down("Unknown", json!([{"key": "node.cloudprovider.kubernetes.io/shutdown", "effect": "NoSchedule"}]), Health::ShutDown)]
    #[case::started_again("True", json!([{"key": "node.cloudprovider.kubernetes.io/shutdown", "effect": "NoSchedule"}]), Health::Ready)]
    fn health_is_taint_then_condition(#[case] ready: &str, #[case] taints: Value, #[case] expected: Health) {
        let facts = NodeFacts::read(&mk_node(ready, &taints)).expect("it has a name");
        assert_eq!((facts.name, facts.zone, facts.health), ("node-1".into(), Some("a".into()), expected));
    }

    #[rstest]
    #[case::ready(json!(null), json!(null), false)]
    #[case::cordoned(json!(true), json!(null), true)]
    #[case::unreachable(json!(null), json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}]), true)]
    #[case::preferably(json!(null), json!([{"key": "node.kubernetes.io/not-ready", "effect": "PreferNoSchedule"}]), false)]
    #[case::somebodys_own(json!(null), json!([{"key": "example.com/gpu", "effect": "NoSchedule"}]), false)]
    fn the_scheduler_avoids_a_node_by_its_taints(
        #[case] cordoned: Value,
        #[case] taints: Value,
        #[case] avoided: bool,
    ) {
        let mut node = mk_node("True", &taints);
        node.spec.as_mut().expect("a spec").unschedulable = cordoned.as_bool();
        assert_eq!(NodeFacts::read(&node).map(|facts| facts.avoided), Some(avoided));
    }

    #[test]
    fn the_boot_of_a_node_is_known_once_its_kubelet_has_reported() {
        let mut node = mk_node("True", &json!(null));
        assert_eq!(NodeFacts::read(&node).and_then(|facts| facts.boot_id), None);
        let info = json!({
            "architecture": "", "bootID": "b1", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
            "kubeletVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "",
        });
        node.status.as_mut().expect("a status").node_info = serde_json::from_value(info).ok();
        assert_eq!(NodeFacts::read(&node).and_then(|facts| facts.boot_id).as_deref(), Some("b1"));
    }

    #[test]
    fn a_node_that_has_not_reported_is_not_ready() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "new"}})).expect("a node");
        assert_eq!(NodeFacts::read(&node).map(|facts| facts.health), Some(Health::NotReady));
        assert_eq!(NodeFacts::read(&node).and_then(|facts| facts.zone), None);
    }

    #[test]
    fn a_lease_is_its_nodes_renewal() {
        let lease: Lease = serde_json::from_value(json!({
            "metadata": {"name": "node-1", "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": "node-1", "leaseDurationSeconds": 40, "renewTime": "2026-01-02T03:04:05.000006Z"},
        }))
        .expect("a Lease");
        let facts = LeaseFacts::read(&lease).expect("it has a name");
        assert_eq!(facts.node, "node-1".into());
        assert_eq!(facts.renewed, "2026-01-02T03:04:05.000006Z".parse().ok());
    }
}
