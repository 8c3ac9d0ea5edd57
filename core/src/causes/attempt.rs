//! The cause of the end of one pod: its status, joined with why it did not start and with the verdict of jobwarden.

use jobwarden_common::{
    names::reason,
    notification::{Cause, CauseKind},
};

use super::{by, of_container_word};
use crate::{
    evidence::{NodeState, PodEvidence, StartProblem},
    verdict::LostReason,
};

/// Why a container does not start.
pub fn of_start_problem(problem: &StartProblem) -> Cause {
    Cause {
        kind: of_container_word(&problem.reason),
        container: Some(problem.container.clone()),
        reason: Some(problem.reason.clone()),
        message: Some(problem.message.clone()).filter(|message| !message.is_empty()),
        ..Cause::default()
    }
}

/// Why a pod ended, by its status and by the last `problem` that prevented a container from starting. For a pod that could not start,
/// a deadline or a deletion that ended it is not the cause. A problem of the heartbeat sidecar is never the cause.
pub fn of_attempt(status: &Cause, problem: Option<&StartProblem>) -> Cause {
    let ours = status.reason.as_deref().is_some_and(|word| reason::LOST.contains(&word));
    let says_little = matches!(status.kind, None | Some(CauseKind::Deleted | CauseKind::DeadlineExceeded));
    let Some(problem) = problem.filter(|problem| !problem.ours && says_little && !ours) else { return status.clone() };
    if status.is_empty() {
        return Cause::default();
    }
    Cause { by: status.by.clone(), finished_at: status.finished_at.clone(), ..of_start_problem(problem) }
}

/// Why a pod is lost: by what the kubelet reported, else by the verdict.
pub fn of_loss(lost: LostReason, pod: &PodEvidence) -> Cause {
    let start = pod.start_problem.as_ref().filter(|problem| !problem.ours).map(of_start_problem);
    let kind = match lost {
        LostReason::ImagePullFailed | LostReason::CreateFailed | LostReason::StartTimeout => {
            return start.unwrap_or_else(|| pod.cause.clone());
        }
        LostReason::NodeGone | LostReason::NodeUnreachable | LostReason::OutcomeUnknown => Some(CauseKind::NodeLost),
        _ => None,
    };
    // The deletion of a lost pod follows from its loss.
    let reported = Some(&pod.cause).filter(|cause| !matches!(cause.kind, None | Some(CauseKind::Deleted)));
    if let Some(reported) = reported {
        return reported.clone();
    }
    let Some(kind) = kind else { return Cause { kind: None, ..Cause::default() } };
    let node = pod.node.as_ref().map(|node| node.name.to_string());
    let message = node.map(|node| match lost {
        LostReason::NodeGone => format!("node {node} {}", how_gone(pod)),
        LostReason::OutcomeUnknown => {
            format!("node {node} stopped responding before it could report how the worker ended")
        }
        _ => format!("node {node} and everything on it stopped responding"),
    });
    Cause { kind: Some(kind), reason: Some(lost.as_str().to_owned()), message, by: None, ..Cause::default() }
}

/// How the node of a pod is known to be gone.
fn how_gone(pod: &PodEvidence) -> &'static str {
    match pod.node.as_ref().map(|node| node.state) {
        Some(NodeState::ShutDown { .. }) => "was reported shut down by the cloud provider",
        Some(NodeState::OutOfService { .. }) => "was declared out of service",
        Some(NodeState::Deleted { .. }) => "was deleted",
        Some(NodeState::Ready | NodeState::NotReady) | None => "has booted again",
    }
}

/// Whether the pod may have been deleted by somebody whom its status does not name.
pub(super) fn unknown_deletion(cause: &Cause) -> bool {
    cause.kind == Some(CauseKind::Deleted) && cause.by.as_deref().is_none_or(|by| by == by::KUBELET)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::builders::evidence::{mk_pod, unreachable};

    fn problem(word: &str, ours: bool) -> StartProblem {
        StartProblem { container: "main".to_owned(), reason: word.to_owned(), message: "no".to_owned(), ours }
    }

    fn of_kind(kind: Option<CauseKind>, word: &str) -> Cause {
        Cause { kind, reason: Some(word.to_owned()), ..Cause::default() }
    }

    #[rstest]
    #[case::deleted(of_kind(Some(CauseKind::Deleted), "Deleted"), Some(CauseKind::ImagePullFailed))]
    #[case::deadline(of_kind(Some(CauseKind::DeadlineExceeded), "DeadlineExceeded"), Some(CauseKind::ImagePullFailed))]
    #[case::unknown(of_kind(None, "ContainerStatusUnknown"), Some(CauseKind::ImagePullFailed))]
    #[case::evicted(of_kind(Some(CauseKind::Evicted), "Evicted"), Some(CauseKind::Evicted))]
    #[case::our_verdict(of_kind(None, "StartTimeout"), None)]
    #[case::nothing_ended_it(Cause::default(), None)]
    fn a_pod_that_could_not_start_has_that_as_its_cause(#[case] status: Cause, #[case] kind: Option<CauseKind>) {
        assert_eq!(of_attempt(&status, Some(&problem("ErrImagePull", false))).kind, kind);
    }

    #[test]
    fn the_heartbeat_sidecar_is_never_the_cause() {
        let status = of_kind(Some(CauseKind::Deleted), "Deleted");
        assert_eq!(of_attempt(&status, Some(&problem("ErrImagePull", true))), status);
    }

    #[test]
    fn an_unresponsive_node_is_the_cause_of_a_loss_with_it() {
        let cause = of_loss(LostReason::NodeUnreachable, &unreachable("w", 100));
        assert_eq!(cause.kind, Some(CauseKind::NodeLost));
        assert_eq!(cause.message.as_deref(), Some("node n1 and everything on it stopped responding"));
    }

    #[test]
    fn what_the_kubelet_reported_before_counts() {
        let evicted = of_kind(Some(CauseKind::Evicted), "Evicted");
        let pod = PodEvidence { cause: evicted.clone(), ..unreachable("w", 100) };
        assert_eq!(of_loss(LostReason::NodeUnreachable, &pod), evicted);
        let deleted = of_kind(Some(CauseKind::Deleted), "Deleted");
        let pod = PodEvidence { cause: deleted, ..unreachable("w", 100) };
        assert_eq!(of_loss(LostReason::NodeUnreachable, &pod).kind, Some(CauseKind::NodeLost));
    }

    #[test]
    fn a_missing_image_is_the_cause_of_a_pod_that_is_lost_for_it() {
        let pod = PodEvidence { start_problem: Some(problem("ImagePullBackOff", false)), ..mk_pod("w") };
        assert_eq!(of_loss(LostReason::ImagePullFailed, &pod).kind, Some(CauseKind::ImagePullFailed));
    }
}
