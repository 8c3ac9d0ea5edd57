//! Deployments and their pods: replicas, version, and why a pod is not ready.

use jobwarden_common::names::port;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ContainerStatus, Pod, PodSpec},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::ResourceExt as _;

use super::{
    finding::{Finding, Section, some_of},
    lookup::LookupError,
    snapshot::Snapshot,
};

/// The version of this program, which is the tag of the images of its release.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A Deployment of jobwarden.
pub(super) struct Component<'a> {
    pub(super) section: Section,
    pub(super) name: &'a str,
    pub(super) deployment: &'a Deployment,
}

impl Component<'_> {
    /// Whether its replicas are available, and of this version.
    pub(super) fn check(&self, snapshot: &Snapshot) -> Vec<Finding> {
        let spec = self.deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        [self.replicas(snapshot)].into_iter().chain(version(self.section, self.name, spec)).collect()
    }

    fn replicas(&self, snapshot: &Snapshot) -> Finding {
        let Self { section, name, deployment } = self;
        let namespace = &snapshot.namespace;
        let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let available = deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
        let scale = format!("kubectl -n {namespace} scale deployment/{name} --replicas=2");
        if desired == 0 {
            return section.failure(format!("{name} is scaled to 0"), format!("run two: {scale}"));
        }
        if available >= desired && desired == 1 {
            let message = format!("{name} has a single replica, so it is down while its node is drained");
            return section.warning(message, format!("run two: {scale}"));
        }
        if available >= desired {
            return section.ok(format!("{name} has {available} of {desired} replicas"));
        }
        let reasons = self.unready_reasons(snapshot);
        let reasons = if reasons.is_empty() { String::new() } else { format!(": {}", some_of(&reasons)) };
        let message = format!("{name} has {available} of {desired} replicas{reasons}");
        let hint = format!(
            "find out why: kubectl -n {namespace} describe pods --selector=app.kubernetes.io/name={name}\n\
             and: kubectl -n {namespace} logs deployment/{name} --all-pods --tail=20"
        );
        if available == 0 { section.failure(message, hint) } else { section.warning(message, hint) }
    }

    /// Why pods are not ready, as far as that is known.
    fn unready_reasons(&self, snapshot: &Snapshot) -> Vec<String> {
        let selector = self.deployment.spec.as_ref().map(|spec| &spec.selector);
        let pods = snapshot.pods.iter().flatten().filter(|pod| selector.is_some_and(|it| selects(it, pod)));
        let reason = |pod: &Pod| {
            let name = pod.name_any();
            let response = snapshot.ready.iter().find(|ready| ready.pod == name)?;
            match &response.answer {
                Ok(Err(unready)) => Some(format!("{name}: {unready}")),
                _ => None,
            }
        };
        pods.filter(|pod| !is_ready(pod))
            .filter_map(|pod| waiting_reason(pod).map(|it| format!("{}: {it}", pod.name_any())).or_else(|| reason(pod)))
            .collect()
    }
}

/// Whether `selector`, which has only labels, matches the pod.
fn selects(selector: &LabelSelector, pod: &Pod) -> bool {
    let mut wanted = selector.match_labels.iter().flatten();
    wanted.all(|(key, value)| pod.labels().get(key) == Some(value))
}

/// A warning if the image is of another version than this program.
pub(super) fn version(section: Section, name: &str, spec: Option<&PodSpec>) -> Option<Finding> {
    let image = spec?.containers.first()?.image.as_deref()?;
    let (_, tag) = image.rsplit('/').next().filter(|last| !last.contains('@'))?.split_once(':')?;
    let of_a_version = |tag: &str| tag.split('.').count() == 3 && tag.starts_with(|first: char| first.is_ascii_digit());
    let its = tag.trim_start_matches('v');
    // A custom tag does not tell the version.
    (of_a_version(its) && its != VERSION).then(|| {
        let hint = format!("upgrade the older one, or use the jobwarden command of version {its}");
        section.warning(format!("{name} has version {its}, but this command has {VERSION}"), hint)
    })
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// Why a pod does not run, by the kubelet or the scheduler.
pub(super) fn waiting_reason(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let reason = |container: &ContainerStatus| container.state.as_ref()?.waiting.as_ref()?.reason.clone();
    // A container that waits for init containers has no reason of its own.
    let reasons = containers.filter_map(reason).filter(|reason| reason != "PodInitializing");
    let unscheduled = status.conditions.iter().flatten().find(|it| it.type_ == "PodScheduled" && it.status == "False");
    reasons.into_iter().next().or_else(|| unscheduled.and_then(|it| it.message.clone().or_else(|| it.reason.clone())))
}

/// The number of ready addresses of a Service.
pub(super) fn ready_addresses(slices: &[EndpointSlice], service: &str) -> usize {
    let of = slices.iter().filter(|it| it.labels().get("kubernetes.io/service-name").is_some_and(|it| it == service));
    let endpoints = of.flat_map(|slice| &slice.endpoints);
    let ready = endpoints.filter(|it| it.conditions.as_ref().and_then(|it| it.ready).unwrap_or(true));
    ready.map(|endpoint| endpoint.addresses.len()).sum()
}

/// A failure if the API server cannot reach the pods of a component.
pub(super) fn unreachable(section: Section, name: &str, snapshot: &Snapshot) -> Option<Finding> {
    let prefix = format!("{name}-");
    let of = snapshot.ready.iter().filter(|ready| ready.pod.starts_with(&prefix));
    let errors = of.filter_map(|ready| Some((&ready.pod, ready.answer.as_ref().err()?)));
    let errors: Vec<_> = errors.collect();
    let (pod, error) = errors.first()?;
    if let LookupError::Forbidden(_) = error {
        return Some(section.unavailable(&format!("a response of {name} (pods/proxy)"), error));
    }
    let pods: Vec<_> = errors.iter().map(|(pod, _)| pod.as_str()).collect();
    let hint = format!(
        "the network between the API server and the pods blocks it: check the NetworkPolicies in {namespace}, and try\n\
         kubectl get --raw /api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/readyz",
        namespace = snapshot.namespace,
        port = port::ADMIN,
    );
    let message = format!("the API server cannot reach {}: {error}", some_of(&pods));
    Some(section.failure(message, hint))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::check::{finding::Status, healthy, snapshot::Ready};

    fn component(deployment: &Deployment) -> Component<'_> {
        Component { section: Section::Webhook, name: "jobwarden-webhook", deployment }
    }

    #[rstest]
    #[case::all_available(2, 2, Status::Ok)]
    #[case::single(1, 1, Status::Warning)]
    #[case::one_missing(2, 1, Status::Warning)]
    #[case::all_missing(2, 0, Status::Failure)]
    #[case::scaled_to_zero(0, 0, Status::Failure)]
    fn replicas_are_counted(#[case] desired: i32, #[case] available: i32, #[case] expected: Status) {
        let snapshot = healthy::snapshot();
        let mut deployment = snapshot.webhook.clone().expect("available").expect("exists");
        deployment.spec.as_mut().expect("a spec").replicas = Some(desired);
        deployment.status.get_or_insert_default().available_replicas = Some(available);
        assert_eq!(component(&deployment).replicas(&snapshot).status, expected);
    }

    #[test]
    fn a_replica_that_is_not_ready_is_named_with_its_reason() {
        let mut snapshot = healthy::snapshot();
        let mut deployment = snapshot.webhook.clone().expect("available").expect("exists");
        deployment.status.get_or_insert_default().available_replicas = Some(0);
        let pod = &mut snapshot.pods.as_mut().expect("pods")[0];
        pod.status = None;
        let answer = Ok(Err("certificates: starting".to_owned()));
        snapshot.ready = vec![Ready { pod: pod.name_any(), answer }];
        let finding = component(&deployment).replicas(&snapshot);
        assert!(finding.message.contains("certificates: starting"), "{finding:?}");
    }

    #[rstest]
    #[case("registry.example.com:5000/jobwarden:0.0.1", Some("0.0.1"))]
    #[case("jobwarden:v9.0.0", Some("9.0.0"))]
    #[case(concat!("jobwarden:", env!("CARGO_PKG_VERSION")), None)]
    #[case::custom_tag("jobwarden:main", None)]
    #[case::no_tag("registry.example.com:5000/jobwarden", None)]
    #[case::digest("jobwarden@sha256:0123", None)]
    fn another_version_is_a_warning(#[case] image: &str, #[case] reported: Option<&str>) {
        let spec = serde_json::from_value(json!({"containers": [{"name": "c", "image": image}]})).expect("a spec");
        let finding = version(Section::Webhook, "jobwarden-webhook", Some(&spec));
        assert_eq!(finding.is_some(), reported.is_some(), "{finding:?}");
        assert!(reported.is_none_or(|version| finding.expect("checked above").message.contains(version)));
    }

    #[rstest]
    #[case(json!({"initContainerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ErrImagePull"}}}],
        "containerStatuses": [{"name": "b", "state": {"waiting": {"reason": "PodInitializing"}}}]}), Some("ErrImagePull"))]
    #[case(json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "no node"}]}), Some("no node"))]
    #[case(json!({}), None)]
    fn the_reason_of_a_waiting_pod_is_found(#[case] mut status: Value, #[case] expected: Option<&str>) {
        for list in ["initContainerStatuses", "containerStatuses"] {
            for it in status[list].as_array_mut().into_iter().flatten() {
                for (key, value) in
                    [("image", json!("")), ("imageID", json!("")), ("ready", json!(false)), ("restartCount", json!(0))]
                {
                    it[key] = value;
                }
            }
        }
        let pod = serde_json::from_value(json!({"metadata": {}, "status": status})).expect("a pod");
        assert_eq!(waiting_reason(&pod).as_deref(), expected);
    }

    #[test]
    fn only_ready_addresses_of_the_service_are_counted() {
        let slice = |service: &str, ready: bool| -> EndpointSlice {
            serde_json::from_value(json!({
                "metadata": {"labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
            }))
            .expect("a slice")
        };
        assert_eq!(ready_addresses(&[slice("a", true), slice("a", false), slice("b", true)], "a"), 1);
    }
}
