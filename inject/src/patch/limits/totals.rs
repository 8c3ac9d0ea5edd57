//! What the containers of a pod request and may use together, as the API server counts it (`podRequests` and `podLimits` of the
//! admission plugin `LimitRanger`, `PodRequests` of k8s.io/component-helpers).

use crate::{
    patch::{
        quantity::Quantity,
        resources::{Requirements, Resource, Resources},
    },
    view::{self, Amount, Container, Lazy, Pairs, PodSpec},
};

/// Amounts of CPU, memory and ephemeral storage; absent if no container has one.
type Amounts = [Option<f64>; 3];

/// Requests and limits of a whole pod.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::patch) struct Totals {
    pub(super) requests: Amounts,
    pub(super) limits: Amounts,
}

impl Totals {
    /// Those of a pod with this spec.
    pub(in crate::patch) fn of(spec: &PodSpec<'_>) -> Self {
        let mut sum = Self::default();
        for container in spec.containers.iter().flatten() {
            sum.add(&of_container(container));
        }
        // Native sidecars run beside the init containers that follow them, and beside the main containers.
        let mut sidecars = Self::default();
        let mut starting = Self::default();
        for container in spec.init_containers.iter().flatten() {
            let own = of_container(container);
            if container.restart_policy.as_deref() == Some("Always") {
                sum.add(&own);
                sidecars.add(&own);
                starting.raise_to(&sidecars);
            } else {
                let mut beside = sidecars;
                beside.add(&own);
                starting.raise_to(&beside);
            }
        }
        sum.raise_to(&starting);
        if let Some(pod) = spec.resources.as_ref().and_then(Lazy::parse) {
            sum.replace_by(&of_requirements(&pod, false));
        }
        sum
    }

    /// Those of the same pod with the sidecar. It is the first init container, so it adds to everything; what the pod itself sets
    /// is raised by as much.
    pub(super) fn with(mut self, sidecar: &Requirements<'_>) -> Self {
        self.add(&Self { requests: of_sidecar(&sidecar.requests), limits: of_sidecar(&sidecar.limits) });
        self
    }

    fn add(&mut self, other: &Self) {
        self.combine(other, |own, more| Some(own.unwrap_or_default() + more));
    }

    fn raise_to(&mut self, other: &Self) {
        self.combine(other, |own, more| Some(own.map_or(more, |own| own.max(more))));
    }

    fn replace_by(&mut self, other: &Self) {
        self.combine(other, |_, new| Some(new));
    }

    fn combine(&mut self, other: &Self, with: impl Fn(Option<f64>, f64) -> Option<f64>) {
        let Self { requests, limits } = self;
        for (own, other) in requests.iter_mut().chain(limits).zip(other.requests.iter().chain(&other.limits)) {
            if let Some(other) = other {
                *own = with(*own, *other);
            }
        }
    }
}

fn of_container(container: &Container<'_>) -> Totals {
    let requirements = container.resources.as_ref().and_then(Lazy::parse);
    requirements.map(|requirements| of_requirements(&requirements, true)).unwrap_or_default()
}

/// `defaulted` if an absent request is that of the limit, as for containers.
fn of_requirements(requirements: &view::Requirements<'_>, defaulted: bool) -> Totals {
    let view::Requirements { requests, limits } = requirements;
    let amounts = |amounts: &Option<Pairs<'_, Amount<'_>>>| {
        Resource::ALL
            .map(|resource| Some(amounts.as_ref()?.value(resource.key())?.as_str().parse::<Quantity>().ok()?.value()))
    };
    let (mut requests, limits) = (amounts(requests), amounts(limits));
    if defaulted {
        for (request, limit) in requests.iter_mut().zip(&limits) {
            *request = request.or(*limit);
        }
    }
    Totals { requests, limits }
}

fn of_sidecar(amounts: &Resources<'_>) -> Amounts {
    Resource::ALL.map(|resource| Some(amounts.get(resource)?.parse::<Quantity>().ok()?.value()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn totals(spec: &Value) -> Totals {
        let text = spec.to_string();
        Totals::of(&serde_json::from_str(&text).expect("a spec"))
    }

    #[test]
    fn requests_are_those_of_the_moment_that_needs_most() {
        let cpu = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let spec = json!({
            "initContainers": [
                {"name": "proxy", "restartPolicy": "Always", "resources": cpu("1")},
                {"name": "fetch", "resources": cpu("4")},
                {"name": "log", "restartPolicy": "Always", "resources": cpu("2")},
            ],
            "containers": [{"name": "a", "resources": cpu("1")}, {"name": "b", "resources": {"limits": {"memory": "1Gi"}}}],
        });
        let gib = Some(f64::from(1 << 30));
        let expected = Totals { requests: [Some(5.0), gib, None], limits: [None, gib, None] };
        assert_eq!(totals(&spec), expected);
    }

    #[test]
    fn what_the_pod_sets_replaces_the_sum() {
        let spec = json!({
            "resources": {"requests": {"cpu": "3"}},
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "1Ki"}}}],
        });
        assert_eq!(totals(&spec).requests, [Some(3.0), Some(1024.0), None]);
    }

    #[test]
    fn the_sidecar_adds_to_everything() {
        let size = Resources { cpu: "500m", memory: "1Ki", ephemeral_storage: None };
        let with = totals(&json!({"resources": {"limits": {"cpu": "3"}}}))
            .with(&Requirements { requests: size, limits: size });
        assert_eq!(with.limits, [Some(3.5), Some(1024.0), None]);
    }
}
