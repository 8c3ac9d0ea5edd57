//! The facts of a node and of its Lease, read from the objects.

use std::sync::Arc;

use jiff::Timestamp;
use jobwarden_common::identity::NodeName;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};

/// The taint by which an administrator declares that a node is shut down (`corev1.TaintNodeOutOfService`).
const OUT_OF_SERVICE_TAINT: &str = "node.kubernetes.io/out-of-service";

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
}

impl NodeFacts {
    /// Reads a node. `None` without a name, which the API server never sends.
    pub fn read(node: &Node) -> Option<Self> {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
        let health = if taints.iter().any(|taint| taint.key == OUT_OF_SERVICE_TAINT) {
            Health::OutOfService
        } else if ready.is_some_and(|condition| condition.status == "True") {
            Health::Ready
        } else {
            Health::NotReady
        };
        let zone = node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE)).map(|zone| zone.as_str().into());
        let changed = ready.and_then(|condition| condition.last_transition_time.as_ref()).map(|at| at.0);
        Some(Self { name: node.metadata.name.clone()?.into(), zone, health, changed })
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
    fn health_is_taint_then_condition(#[case] ready: &str, #[case] taints: Value, #[case] expected: Health) {
        let facts = NodeFacts::read(&mk_node(ready, &taints)).expect("it has a name");
        assert_eq!(facts, NodeFacts { name: "node-1".into(), zone: Some("a".into()), health: expected, changed: None });
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
