//! The user of the sidecar.
//!
//! The sidecar has no user of its own where the pod names one: policies and `SecurityContextConstraints` that allow a namespace a
//! range of users would refuse any other, and the kubelet gives a projected token to the user of the pod's containers only if all
//! of them have the same (`FsUserFrom` of kubernetes/pkg/volume/util): a sidecar with another user would take a token of mode 0400
//! from the worker. Where the pod names none, the image's user applies.
//!
//! The sidecar reads its own token as any user: its mode is 0644; with an `fsGroup` 0640 and the group is that of every
//! container; with a common user 0600 and the user is the sidecar's as well.

use crate::view::{Container, Lazy, PodSpec, SecurityContext};

/// The user where a pod says root and the sidecar must not be: distroless images call it `nonroot`.
const NON_ROOT: i64 = 65532;

/// User and group that the sidecar's own security context names. What is absent is inherited from the pod, or else from the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) user: Option<i64>,
    pub(super) group: Option<i64>,
}

impl User {
    /// The user of a sidecar beside the containers of `spec`.
    pub(super) fn beside(spec: &PodSpec<'_>) -> Self {
        let pod = spec.security_context.as_ref().and_then(Lazy::parse).unwrap_or_default();
        let mut users = Common::default();
        let mut groups = Common::default();
        for container in [&spec.containers, &spec.init_containers].into_iter().flatten().flatten() {
            let own = context(container);
            users.add(own.run_as_user.or(pod.run_as_user));
            groups.add(own.run_as_group.or(pod.run_as_group));
        }
        let user = match (users.value(), pod.run_as_user) {
            (Some(common), inherited) if common != 0 => (inherited != Some(common)).then_some(common),
            (_, Some(0)) => Some(NON_ROOT),
            _ => None,
        };
        let group = groups.value().filter(|common| *common != 0 && pod.run_as_group != Some(*common));
        Self { user, group }
    }
}

fn context<'a>(container: &Container<'a>) -> SecurityContext<'a> {
    let context = container.security_context.as_ref().filter(|context| context.mentions("runAs"));
    context.and_then(Lazy::parse).unwrap_or_default()
}

/// The value that all containers have.
#[derive(Default)]
enum Common {
    /// No container has been seen.
    #[default]
    Empty,
    Same(i64),
    Different,
}

impl Common {
    fn add(&mut self, value: Option<i64>) {
        *self = match (&*self, value) {
            (Self::Empty, Some(value)) => Self::Same(value),
            (Self::Same(known), Some(value)) if *known == value => Self::Same(value),
            _ => Self::Different,
        };
    }

    fn value(&self) -> Option<i64> {
        match self {
            Self::Same(value) => Some(*value),
            Self::Empty | Self::Different => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "callers write literals")]
    fn contexts(pod: Value, containers: &[Value]) -> Value {
        let containers: Vec<Value> =
            containers.iter().map(|context| json!({"name": "c", "securityContext": context})).collect();
        json!({"securityContext": pod, "containers": containers})
    }

    #[rstest]
    #[case::nobody_says(contexts(json!({}), &[json!({})]), None, None)]
    #[case::the_pods_is_inherited(contexts(json!({"runAsUser": 1000, "runAsGroup": 3000}), &[json!({})]), None, None)]
    #[case::root_is_not_inherited(contexts(json!({"runAsUser": 0}), &[json!({})]), Some(65532), None)]
    #[case::that_of_all_containers(contexts(json!({}), &[json!({"runAsUser": 7, "runAsGroup": 8}), json!({"runAsUser": 7, "runAsGroup": 8})]), Some(7), Some(8))]
    #[case::that_of_all_containers_not_the_pods(contexts(json!({"runAsUser": 1000}), &[json!({"runAsUser": 7})]), Some(7), None)]
    #[case::containers_that_differ(contexts(json!({}), &[json!({"runAsUser": 7}), json!({"runAsUser": 8})]), None, None)]
    #[case::a_container_without(contexts(json!({}), &[json!({"runAsUser": 7}), json!({})]), None, None)]
    #[case::containers_of_a_root_pod(contexts(json!({"runAsUser": 0}), &[json!({"runAsUser": 7})]), Some(7), None)]
    #[case::root_containers(contexts(json!({}), &[json!({"runAsUser": 0, "runAsGroup": 0})]), None, None)]
    #[case::root_containers_of_another_pod(contexts(json!({"runAsUser": 1000}), &[json!({"runAsUser": 0})]), None, None)]
    #[case::no_context(json!({"containers": [{"name": "c"}]}), None, None)]
    fn the_sidecar_runs_as_the_pod_does_but_never_as_root(
        #[case] spec: Value,
        #[case] user: Option<i64>,
        #[case] group: Option<i64>,
    ) {
        let text = spec.to_string();
        assert_eq!(User::beside(&serde_json::from_str(&text).expect("a spec")), User { user, group });
    }
}
