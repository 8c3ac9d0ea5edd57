//! What the reasons of kubelet, runtime and controllers mean.

use jobwarden_common::{
    names::reason,
    notification::{Cause, CauseKind},
};

use super::by;

/// `nodeShutdownMessage` in `pkg/kubelet/nodeshutdown/nodeshutdown_manager.go`, its constant part.
const SHUTDOWN: &str = "node shutdown";
/// `message` in `pkg/kubelet/preemption/preemption.go`, its constant part.
const CRITICAL_POD: &str = "critical pod";

/// What `status.reason` of a pod means; `None` for a reason without a meaning of its own.
pub(crate) fn of_pod_word(word: &str, message: Option<String>) -> Option<Cause> {
    let said = message.as_deref().unwrap_or_default();
    let (kind, by) = match word {
        "Evicted" => (CauseKind::Evicted, by::KUBELET),
        "Preempting" => (CauseKind::Preempted, by::KUBELET),
        "NodeShutdown" => (CauseKind::NodeShutdown, by::KUBELET),
        // The reason alone is ambiguous.
        "Terminated" if said.contains(SHUTDOWN) => (CauseKind::NodeShutdown, by::KUBELET),
        "NodeLost" => (CauseKind::NodeLost, by::NODE_LIFECYCLE),
        "DeadlineExceeded" => (CauseKind::DeadlineExceeded, by::KUBELET),
        "NodeAffinity"
        | "NodePorts"
        | "TopologyAffinityError"
        | "UnexpectedAdmissionError"
        | "UnexpectedPredicateFailureType"
        | "InvalidNodeInfo"
        | "PodOSNotSupported"
        | "PodOSSelectorNodeLabelDoesNotMatch"
        | "SupplementalGroupsPolicyNotSupported"
        | "InitContainerRestartPolicyForbidden" => (CauseKind::NotAdmitted, by::KUBELET),
        word if word.starts_with("OutOf") => (CauseKind::NotAdmitted, by::KUBELET),
        // The reasons of jobwarden, with which pods on dead nodes are marked Failed.
        reason::NODE_GONE | reason::NODE_UNREACHABLE | reason::OUTCOME_UNKNOWN => (CauseKind::NodeLost, by::US),
        reason::IMAGE_PULL_FAILED => (CauseKind::ImagePullFailed, by::US),
        reason::CREATE_FAILED => (CauseKind::CreateFailed, by::US),
        word if reason::LOST.contains(&word) => return Some(plain(word, message, None, by::US)),
        _ => return None,
    };
    let resource = (kind == CauseKind::Evicted).then(|| resource(said)).flatten();
    Some(Cause { resource, ..plain(word, message, Some(kind), by) })
}

/// What the reason of a pod's condition `DisruptionTarget` means (KEP-3329).
pub(crate) fn of_disruption(word: &str, message: Option<String>) -> Cause {
    let said = message.as_deref().unwrap_or_default();
    let (kind, by) = match word {
        "PreemptionByScheduler" => (CauseKind::Preempted, by::SCHEDULER),
        "EvictionByEvictionAPI" => (CauseKind::Drained, by::EVICTION_API),
        "DeletionByTaintManager" => (CauseKind::Tainted, by::TAINT_EVICTION),
        "DeletionByDeviceTaintManager" => (CauseKind::Tainted, by::DEVICE_TAINT_EVICTION),
        "DeletionByPodGC" => (CauseKind::NodeLost, by::POD_GC),
        // The kubelet has one reason for all its disruptions.
        "TerminationByKubelet" if said.contains(SHUTDOWN) => (CauseKind::NodeShutdown, by::KUBELET),
        "TerminationByKubelet" if said.contains(CRITICAL_POD) => (CauseKind::Preempted, by::KUBELET),
        "TerminationByKubelet" if resource(said).is_some() => (CauseKind::Evicted, by::KUBELET),
        "TerminationByKubelet" => return plain(word, message, None, by::KUBELET),
        _ => match of_pod_word(word, message.clone()) {
            Some(ours) if ours.by.as_deref() == Some(by::US) => return ours,
            _ => return Cause { by: None, ..plain(word, message, None, by::KUBELET) },
        },
    };
    let resource = (kind == CauseKind::Evicted).then(|| resource(said)).flatten();
    Cause { resource, ..plain(word, message, Some(kind), by) }
}

/// What the reason of a false condition `PodScheduled` means: the pod waits for a node.
pub(crate) fn of_scheduling(word: &str, message: Option<String>) -> Cause {
    plain(word, message, Some(CauseKind::Unschedulable), by::SCHEDULER)
}

/// What the reason of a waiting or terminated container means; `None` for a reason without a meaning of its own.
pub(crate) fn of_container_word(word: &str) -> Option<CauseKind> {
    match word {
        "OOMKilled" => Some(CauseKind::OomKilled),
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => Some(CauseKind::ImagePullFailed),
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "PreCreateHookError"
        | "PreStartHookError"
        | "PostStartHookError"
        | "CreatePodSandboxError"
        | "StartError"
        | "ContainerCannotRun" => Some(CauseKind::CreateFailed),
        _ => None,
    }
}

fn plain(word: &str, message: Option<String>, kind: Option<CauseKind>, by: &str) -> Cause {
    Cause { kind, reason: Some(word.to_owned()), message, by: Some(by.to_owned()), ..Cause::default() }
}

/// What the node ran short of, by the kubelet's sentence about an eviction.
fn resource(message: &str) -> Option<String> {
    // `nodeLowMessageFmt`
    if let Some((_, rest)) = message.split_once("low on resource: ") {
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '_'))).unwrap_or(rest.len());
        return (end > 0).then(|| rest[..end].to_owned());
    }
    // `nodeConditionMessageFmt`: not admitted while it lasts.
    if let Some((_, conditions)) = message.split_once("node had condition: ") {
        let of = [("MemoryPressure", "memory"), ("DiskPressure", "ephemeral-storage"), ("PIDPressure", "pids")];
        return of.iter().find(|(word, _)| conditions.contains(word)).map(|(_, resource)| (*resource).to_owned());
    }
    // `containerEphemeralStorageMessageFmt`, `podEphemeralStorageMessageFmt`, `emptyDirMessageFmt`
    let storage = ["local ephemeral storage limit", "ephemeral local storage usage", "EmptyDir volume"];
    storage.iter().any(|words| message.contains(words)).then(|| "ephemeral-storage".to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// The kubelet's own sentences.
    #[rstest]
    #[case(
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi. Container main was using 2Gi, request is 0, has larger consumption of memory. ",
        Some("memory")
    )]
    #[case("The node was low on resource: ephemeral-storage. ", Some("ephemeral-storage"))]
    #[case("The node was low on resource: pids. ", Some("pids"))]
    #[case("The node was low on resource: inodes. ", Some("inodes"))]
    #[case("The node had condition: [MemoryPressure]. ", Some("memory"))]
    #[case("The node had condition: [DiskPressure]. ", Some("ephemeral-storage"))]
    #[case("The node had condition: [PIDPressure]. ", Some("pids"))]
    #[case("Container main exceeded its local ephemeral storage limit \"1Gi\". ", Some("ephemeral-storage"))]
    #[case("Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ", Some("ephemeral-storage"))]
    #[case("Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Gi\". ", Some("ephemeral-storage"))]
    #[case("", None)]
    #[case("The node was low on resource: ", None)]
    fn an_eviction_names_its_resource(#[case] message: &str, #[case] expected: Option<&str>) {
        let cause = of_pod_word("Evicted", Some(message.to_owned())).expect("a word that tells");
        assert_eq!((cause.kind, cause.resource.as_deref()), (Some(CauseKind::Evicted), expected));
    }

    #[rstest]
    #[case("Preempting", "Preempted in order to admit critical pod", Some(CauseKind::Preempted))]
    #[case("Terminated", "Pod was terminated in response to imminent node shutdown.", Some(CauseKind::NodeShutdown))]
    #[case("NodeShutdown", "Pod was rejected as the node is shutting down.", Some(CauseKind::NodeShutdown))]
    #[case("NodeLost", "Node n1 which was running pod w is unresponsive", Some(CauseKind::NodeLost))]
    #[case(
        "DeadlineExceeded",
        "Pod was active on the node longer than the specified deadline",
        Some(CauseKind::DeadlineExceeded)
    )]
    #[case("OutOfcpu", "Node didn't have enough resource: cpu", Some(CauseKind::NotAdmitted))]
    #[case("UnexpectedAdmissionError", "Allocate failed", Some(CauseKind::NotAdmitted))]
    #[case("NodeGone", "Given up by jobwarden.", Some(CauseKind::NodeLost))]
    #[case("ProcessGone", "Given up by jobwarden.", None)]
    fn the_reason_of_a_pod_has_a_kind(#[case] word: &str, #[case] message: &str, #[case] kind: Option<CauseKind>) {
        let cause = of_pod_word(word, Some(message.to_owned())).expect("a word that tells");
        assert_eq!((cause.kind, cause.reason.as_deref()), (kind, Some(word)));
    }

    #[rstest]
    #[case("Terminated", "by whatever")]
    #[case("SomethingElse", "")]
    fn an_unspecific_reason_is_not_a_cause(#[case] word: &str, #[case] message: &str) {
        assert_eq!(of_pod_word(word, Some(message.to_owned())), None);
    }

    #[rstest]
    #[case("PreemptionByScheduler", "", Some(CauseKind::Preempted), Some("kube-scheduler"))]
    #[case("EvictionByEvictionAPI", "Eviction API: evicting", Some(CauseKind::Drained), Some("eviction API"))]
    #[case(
        "DeletionByTaintManager",
        "Taint manager: deleting due to NoExecute taint",
        Some(CauseKind::Tainted),
        Some("taint-eviction-controller")
    )]
    #[case(
        "DeletionByPodGC",
        "PodGC: node no longer exists",
        Some(CauseKind::NodeLost),
        Some("pod-garbage-collector-controller")
    )]
    #[case(
        "TerminationByKubelet",
        "Pod was terminated in response to imminent node shutdown.",
        Some(CauseKind::NodeShutdown),
        Some("kubelet")
    )]
    #[case(
        "TerminationByKubelet",
        "Preempted in order to admit critical pod",
        Some(CauseKind::Preempted),
        Some("kubelet")
    )]
    #[case("TerminationByKubelet", "The node was low on resource: memory. ", Some(CauseKind::Evicted), Some("kubelet"))]
    #[case("TerminationByKubelet", "", None, Some("kubelet"))]
    #[case("NodeUnreachable", "Given up by jobwarden.", Some(CauseKind::NodeLost), Some("jobwarden"))]
    #[case("OfAnother", "", None, None)]
    fn a_disruption_tells_who_did_it(
        #[case] word: &str,
        #[case] message: &str,
        #[case] kind: Option<CauseKind>,
        #[case] by: Option<&str>,
    ) {
        let cause = of_disruption(word, Some(message.to_owned()));
        assert_eq!((cause.kind, cause.by.as_deref(), cause.reason.as_deref()), (kind, by, Some(word)));
    }
}
