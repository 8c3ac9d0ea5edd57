//! The memory that the main containers of a pod may use.

use std::{collections::BTreeMap, num::NonZeroU64};

use jobwarden_common::quantity::Quantity;
use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, PodSpec},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};

use super::container::find;

/// The key of a limit on memory (`corev1.ResourceMemory`).
const MEMORY: &str = "memory";

/// A limit of the whole pod (KEP-2837), else the limits of the main containers together; `None` if one of them has none. A limit of 0 is
/// none for container runtimes.
pub(super) fn limit_bytes(spec: &PodSpec, statuses: &[ContainerStatus]) -> Option<NonZeroU64> {
    let of_pod = spec.resources.as_ref().and_then(|resources| bytes(resources.limits.as_ref()));
    let of_container = |container: &Container| {
        // A limit that was changed in place is in effect once the status has it (KEP-1287).
        let in_effect = find(statuses, &container.name).and_then(|status| status.resources.as_ref());
        let in_effect = in_effect.and_then(|resources| bytes(resources.limits.as_ref()));
        in_effect.or_else(|| bytes(container.resources.as_ref()?.limits.as_ref()))
    };
    let of_containers = || {
        let limits: Option<Vec<_>> = spec.containers.iter().map(of_container).collect();
        limits
            .filter(|limits| !limits.is_empty())
            .map(|limits| limits.into_iter().map(NonZeroU64::get).fold(0, u64::saturating_add))
    };
    of_pod.or_else(|| NonZeroU64::new(of_containers()?))
}

fn bytes(limits: Option<&BTreeMap<String, ApiQuantity>>) -> Option<NonZeroU64> {
    let quantity: Quantity = limits?.get(MEMORY)?.0.parse().ok()?;
    NonZeroU64::new(quantity.bytes())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn limited(name: &str, memory: &str) -> Value {
        json!({"name": name, "resources": {"limits": {"memory": memory, "cpu": "1"}}})
    }

    #[rstest]
    #[case::one(json!({"containers": [limited("a", "8Gi")]}), json!([]), Some(8 << 30))]
    #[case::two(json!({"containers": [limited("a", "1Gi"), limited("b", "1Gi")]}), json!([]), Some(2 << 30))]
    #[case::one_without(json!({"containers": [limited("a", "1Gi"), {"name": "b"}]}), json!([]), None)]
    #[case::of_the_pod(json!({"containers": [{"name": "a"}], "resources": {"limits": {"memory": "2Gi"}}}), json!([]), Some(2 << 30))]
    #[case::sidecars_do_not_count(json!({"containers": [limited("a", "1Gi")], "initContainers": [{"name": "s"}]}), json!([]), Some(1 << 30))]
    #[case::changed_in_place(
        json!({"containers": [limited("a", "1Gi")]}),
        json!([{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0, "resources": {"limits": {"memory": "3Gi"}}}]),
        Some(3 << 30)
    )]
    #[case::no_quantity(json!({"containers": [limited("a", "much")]}), json!([]), None)]
    #[case::a_limit_of_zero_is_none(json!({"containers": [limited("a", "0")]}), json!([]), None)]
    #[case::none(json!({"containers": []}), json!([]), None)]
    fn the_limit_is_that_of_all_main_containers(
        #[case] spec: Value,
        #[case] statuses: Value,
        #[case] expected: Option<u64>,
    ) {
        let spec: PodSpec = serde_json::from_value(spec).expect("a spec");
        let statuses: Vec<ContainerStatus> = serde_json::from_value(statuses).expect("statuses");
        assert_eq!(limit_bytes(&spec, &statuses).map(NonZeroU64::get), expected);
    }
}
