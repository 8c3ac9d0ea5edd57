//! Deployments and their pods: how many run, which version, and why one does not.

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
    snapshot::{Lack, Snapshot},
};

/// The version of this program, which the images of its release have as their tag.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A Deployment of ours.
pub(super) struct Part<'a> {
    pub(super) section: Section,
    pub(super) name: &'a str,
    pub(super) deployment: &'a Deployment,
}

impl Part<'_> {
    /// Whether its replicas are there, and of the right version.
    pub(super) fn check(&self, snapshot: &Snapshot) -> Vec<Finding> {
        let spec = self.deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        [self.replicas(snapshot)].into_iter().chain(version(self.section, self.name, spec)).collect()
    }

    fn replicas(&self, snapshot: &Snapshot) -> Finding {
        let Self { section, name, deployment } = self;
        let namespace = &snapshot.namespace;
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let available = deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
        let scale = format!("kubectl -n {namespace} scale deployment/{name} --replicas=2");
        if wanted == 0 {
            return section.failure(format!("{name} is scaled to no replica at all"), format!("run two: {scale}"));
        }
        if available >= wanted && wanted == 1 {
            let what = format!("{name} has a single replica, which is missed whenever its node is drained");
            return section.warning(what, format!("run two: {scale}"));
        }
        if available >= wanted {
            return section.ok(format!("{name} has {available} of {wanted} replicas"));
        }
        let reasons = self.why_not(snapshot);
        let reasons = if reasons.is_empty() { String::new() } else { format!(": {}", some_of(&reasons)) };
        let what = format!("{name} has {available} of {wanted} replicas{reasons}");
        let hint = format!(
            "see what keeps them: kubectl -n {namespace} describe pods --selector=app.kubernetes.io/name={name}\n\
             and: kubectl -n {namespace} logs deployment/{name} --all-pods --tail=20"
        );
        if available == 0 { section.failure(what, hint) } else { section.warning(what, hint) }
    }

    /// Why pods are not ready, where they tell.
    fn why_not(&self, snapshot: &Snapshot) -> Vec<String> {
        let selector = self.deployment.spec.as_ref().map(|spec| &spec.selector);
        let pods = snapshot.pods.iter().flatten().filter(|pod| selector.is_some_and(|it| selects(it, pod)));
        let reason = |pod: &Pod| {
            let name = pod.name_any();
            let said = snapshot.ready.iter().find(|ready| ready.pod == name)?;
            match &said.answer {
                Ok(Err(unready)) => Some(format!("{name} says {unready:?}")),
                _ => None,
            }
        };
        pods.filter(|pod| !is_ready(pod))
            .filter_map(|pod| waiting(pod).map(|it| format!("{}: {it}", pod.name_any())).or_else(|| reason(pod)))
            .collect()
    }
}

/// Whether `selector`, which has labels alone, selects the pod.
fn selects(selector: &LabelSelector, pod: &Pod) -> bool {
    let mut wanted = selector.match_labels.iter().flatten();
    wanted.all(|(key, value)| pod.labels().get(key) == Some(value))
}

/// That the image is of another version than this program, if it is.
pub(super) fn version(section: Section, name: &str, spec: Option<&PodSpec>) -> Option<Finding> {
    let image = spec?.containers.first()?.image.as_deref()?;
    let (_, tag) = image.rsplit('/').next().filter(|last| !last.contains('@'))?.split_once(':')?;
    let of_a_version = |tag: &str| tag.split('.').count() == 3 && tag.starts_with(|first: char| first.is_ascii_digit());
    let its = tag.trim_start_matches('v');
    // Somebody's own tag says nothing of the version.
    (of_a_version(its) && its != VERSION).then(|| {
        let hint = format!("upgrade what is older, or check with the program of that version, which is in {image}");
        section.warning(format!("{name} is of version {its}, this program of {VERSION}"), hint)
    })
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// Why a pod does not run, as the kubelet or the scheduler has it.
pub(super) fn waiting(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let reason = |container: &ContainerStatus| container.state.as_ref()?.waiting.as_ref()?.reason.clone();
    // One that waits for another tells nothing.
    let reasons = containers.filter_map(reason).filter(|reason| reason != "PodInitializing");
    let unscheduled = status.conditions.iter().flatten().find(|it| it.type_ == "PodScheduled" && it.status == "False");
    reasons.into_iter().next().or_else(|| unscheduled.and_then(|it| it.message.clone().or_else(|| it.reason.clone())))
}

/// Whether a Service leads anywhere: how many ready addresses it has.
pub(super) fn addresses(slices: &[EndpointSlice], service: &str) -> usize {
    let of = slices.iter().filter(|it| it.labels().get("kubernetes.io/service-name").is_some_and(|it| it == service));
    let endpoints = of.flat_map(|slice| &slice.endpoints);
    let ready = endpoints.filter(|it| it.conditions.as_ref().and_then(|it| it.ready).unwrap_or(true));
    ready.map(|endpoint| endpoint.addresses.len()).sum()
}

/// What the pods of a part say of themselves, where the API server cannot even ask.
pub(super) fn unreachable(section: Section, name: &str, snapshot: &Snapshot) -> Option<Finding> {
    let prefix = format!("{name}-");
    let of = snapshot.ready.iter().filter(|ready| ready.pod.starts_with(&prefix));
    let lacks = of.filter_map(|ready| Some((&ready.pod, ready.answer.as_ref().err()?)));
    let lacks: Vec<_> = lacks.collect();
    let (pod, lack) = lacks.first()?;
    if let Lack::Forbidden(_) = lack {
        return Some(section.lacking(&format!("whether {name} can be reached (pods/proxy)"), lack));
    }
    let pods: Vec<_> = lacks.iter().map(|(pod, _)| pod.as_str()).collect();
    let hint = format!(
        "something between the API server and the pods drops it: see the NetworkPolicies of {namespace}, and try\n\
         kubectl get --raw /api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/readyz",
        namespace = snapshot.namespace,
        port = port::ADMIN,
    );
    let what = format!("the API server cannot reach {}: {lack}", some_of(&pods));
    Some(section.failure(what, hint))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::check::{finding::Status, snapshot::Ready, sound};

    fn part(deployment: &Deployment) -> Part<'_> {
        Part { section: Section::Webhook, name: "jobwarden-webhook", deployment }
    }

    #[rstest]
    #[case::as_it_should_be(2, 2, Status::Ok)]
    #[case::alone(1, 1, Status::Warning)]
    #[case::one_is_missing(2, 1, Status::Warning)]
    #[case::all_are_missing(2, 0, Status::Failure)]
    #[case::scaled_away(0, 0, Status::Failure)]
    fn replicas_are_counted(#[case] wanted: i32, #[case] available: i32, #[case] expected: Status) {
        let snapshot = sound::snapshot();
        let mut deployment = snapshot.webhook.clone().expect("seen").expect("there");
        deployment.spec.as_mut().expect("a spec").replicas = Some(wanted);
        deployment.status.get_or_insert_default().available_replicas = Some(available);
        assert_eq!(part(&deployment).replicas(&snapshot).status, expected);
    }

    #[test]
    fn a_replica_that_is_not_ready_is_told_with_its_own_reason() {
        let mut snapshot = sound::snapshot();
        let mut deployment = snapshot.webhook.clone().expect("seen").expect("there");
        deployment.status.get_or_insert_default().available_replicas = Some(0);
        let pod = &mut snapshot.pods.as_mut().expect("pods")[0];
        pod.status = None;
        let answer = Ok(Err("certificates: starting".to_owned()));
        snapshot.ready = vec![Ready { pod: pod.name_any(), answer }];
        let finding = part(&deployment).replicas(&snapshot);
        assert!(finding.what.contains("certificates: starting"), "{finding:?}");
    }

    #[rstest]
    #[case("registry.example.com:5000/jobwarden:0.0.1", Some("0.0.1"))]
    #[case("jobwarden:v9.0.0", Some("9.0.0"))]
    #[case(concat!("jobwarden:", env!("CARGO_PKG_VERSION")), None)]
    #[case::somebodys_own("jobwarden:main", None)]
    #[case::none("registry.example.com:5000/jobwarden", None)]
    #[case::digest("jobwarden@sha256:0123", None)]
    fn another_version_is_told(#[case] image: &str, #[case] told: Option<&str>) {
        let spec = serde_json::from_value(json!({"containers": [{"name": "c", "image": image}]})).expect("a spec");
        let finding = version(Section::Webhook, "jobwarden-webhook", Some(&spec));
        assert_eq!(finding.is_some(), told.is_some(), "{finding:?}");
        assert!(told.is_none_or(|told| finding.expect("just seen").what.contains(told)));
    }

    #[rstest]
    #[case(json!({"initContainerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ErrImagePull"}}}],
        "containerStatuses": [{"name": "b", "state": {"waiting": {"reason": "PodInitializing"}}}]}), Some("ErrImagePull"))]
    #[case(json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "no node"}]}), Some("no node"))]
    #[case(json!({}), None)]
    fn what_a_pod_waits_for_is_told(#[case] mut status: Value, #[case] expected: Option<&str>) {
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
        assert_eq!(waiting(&pod).as_deref(), expected);
    }

    #[test]
    fn only_ready_addresses_of_the_service_count() {
        let slice = |service: &str, ready: bool| -> EndpointSlice {
            serde_json::from_value(json!({
                "metadata": {"labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
            }))
            .expect("a slice")
        };
        assert_eq!(addresses(&[slice("a", true), slice("a", false), slice("b", true)], "a"), 1);
    }
}
