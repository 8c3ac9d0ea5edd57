//! Raising what a pod requests and may use as a whole (KEP-2837).
//!
//! The API server rejects a pod whose containers together request more than the pod, and the sidecar would take its share from the
//! worker. So each amount that the pod sets is raised by the sidecar's; requests that equal limits stay equal, and with them the
//! pod's `QoS` class. The pod's own ephemeral storage cannot be set.

use super::{
    operations::{Operations, Path},
    quantity,
    resources::{Requirements, Resource, Resources},
};
use crate::view::{Amount, Pairs, PodSpec};

/// New amounts of a pod.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Raised(Vec<(Kind, Resource, String)>);

/// An amount that the pod sets is not a quantity, or too large.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CannotRaise;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Requests,
    Limits,
}

impl Kind {
    const fn key(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }
}

impl Raised {
    /// The amounts of a pod with this spec after the sidecar has been added.
    pub(super) fn by(spec: &PodSpec<'_>, sidecar: &Requirements<'_>) -> Result<Self, CannotRaise> {
        let Some(pod) = &spec.resources else { return Ok(Self::default()) };
        let pod = pod.parse().ok_or(CannotRaise)?;
        let mut raised = Self::default();
        raised.add(Kind::Requests, pod.requests.as_ref(), &sidecar.requests)?;
        raised.add(Kind::Limits, pod.limits.as_ref(), &sidecar.limits)?;
        Ok(raised)
    }

    fn add(
        &mut self,
        kind: Kind,
        pod: Option<&Pairs<'_, Amount<'_>>>,
        sidecar: &Resources<'_>,
    ) -> Result<(), CannotRaise> {
        for resource in [Resource::Cpu, Resource::Memory] {
            let Some(own) = pod.and_then(|amounts| amounts.value(resource.key())) else { continue };
            let Some(more) = sidecar.get(resource) else { continue };
            self.0.push((kind, resource, quantity::sum(own.as_str(), more).ok_or(CannotRaise)?));
        }
        Ok(())
    }

    pub(super) fn write(&self, operations: &mut Operations) {
        const RESOURCES: Path<'static> = &["spec", "resources"];
        for (kind, resource, amount) in &self.0 {
            operations.replace(&[RESOURCES, &[kind.key(), resource.key()]].concat(), amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    const SIZE: Resources<'static> = Resources { cpu: "10m", memory: "16Mi", ephemeral_storage: Some("16Mi") };

    fn raised(resources: &Value) -> Result<Value, CannotRaise> {
        let text = json!({"resources": resources}).to_string();
        let spec = serde_json::from_str(&text).expect("a spec");
        let raised = Raised::by(&spec, &Requirements { requests: SIZE, limits: SIZE })?;
        let mut operations = Operations::default();
        raised.write(&mut operations);
        let mut pod = json!({"spec": {"resources": resources}});
        json_patch::patch(&mut pod, &operations.to_patch()).expect("applies");
        Ok(pod["spec"]["resources"].take())
    }

    #[rstest]
    #[case::guaranteed(
        json!({"requests": {"cpu": "2", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}),
        Ok(json!({"requests": {"cpu": "2010m", "memory": "2064Mi"}, "limits": {"cpu": "2010m", "memory": "2064Mi"}}))
    )]
    #[case::only_what_is_set(json!({"limits": {"memory": "1Gi"}}), Ok(json!({"limits": {"memory": "1040Mi"}})))]
    #[case::huge_pages(
        json!({"requests": {"hugepages-2Mi": "4Mi", "cpu": 1}}), Ok(json!({"requests": {"hugepages-2Mi": "4Mi", "cpu": "1010m"}}))
    )]
    #[case::nothing(json!({}), Ok(json!({})))]
    #[case::null(json!(null), Ok(json!(null)))]
    #[case::no_quantity(json!({"requests": {"cpu": "some"}}), Err(CannotRaise))]
    fn each_amount_that_the_pod_sets_is_raised(#[case] resources: Value, #[case] expected: Result<Value, CannotRaise>) {
        assert_eq!(raised(&resources), expected);
    }
}
