//! A pod without a Job that opted in, read as a Job of that one pod.
//!
//! | of a Job | of a bare pod |
//! |---|---|
//! | `Complete`, `Failed` | its phase |
//! | `FailureTarget` | [`VERDICT`] with a reason of jobwarden |
//! | `status.startTime` | its creation: the Job controller does not wait for a node either |
//! | `backoffLimit` | no controller creates another pod |

use std::sync::Arc;

use jiff::Timestamp;
use jobwarden_common::names::{annotation, label_value, reason};
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::{BackOff, Deletion, JobFacts, Progress, Start, identity, since};
use crate::{
    evidence::{Finish, JobKind, Retries},
    facts::{membership::Members, pod::is_bare},
    policy::{BadSetting, Changes, Labels, Policies},
};

/// The condition that says why a pod is about to be deleted (KEP-3329): the verdict of jobwarden on a bare pod.
pub const VERDICT: &str = "DisruptionTarget";

/// The reason why the condition `Ready` of a failed pod is false (`pkg/kubelet/status/generate.go`).
const POD_FAILED: &str = "PodFailed";

/// Reason and message of our verdict on a bare pod, if it has been written.
pub(crate) fn verdict(status: &PodStatus) -> Option<(&str, &str)> {
    let mut conditions = status.conditions.iter().flatten();
    let verdict = conditions.find(|condition| condition.type_ == VERDICT && condition.status == "True")?;
    let word = verdict.reason.as_deref()?;
    let ours = reason::LOST.contains(&word) || word == reason::DEADLINE_EXCEEDED;
    ours.then(|| (word, verdict.message.as_deref().unwrap_or_default()))
}

impl JobFacts {
    /// Reads a bare pod when the clock of the API server shows `now`, and returns the annotations that could not be read as well. `None`
    /// for any other pod.
    pub fn of_bare_pod(pod: &Pod, policies: &Policies, now: Timestamp) -> Option<(Self, Vec<BadSetting>)> {
        let Pod { metadata, status, .. } = pod;
        if !is_bare(pod) {
            return None;
        }
        let annotations = metadata.annotations.clone().unwrap_or_default();
        let (own, bad) = Changes::by_annotations(&annotations);
        let labels = Labels::keep(metadata.labels.iter().flatten());
        let identity = identity(JobKind::BarePod, metadata, &annotations)?;
        let effective = Arc::new(policies.effective(&identity.namespace, &labels, &own));
        let progress = status.as_ref().map_or(Progress::Open, progress);
        let being_failed = matches!(progress, Progress::Failing { .. });
        let created = metadata.creation_timestamp.as_ref();
        let facts = Self {
            identity,
            effective,
            own,
            labels,
            // A deletion that follows from the verdict of jobwarden is part of it.
            deletion: (metadata.deletion_timestamp.is_some() && !being_failed).then_some(Deletion { orphaning: false }),
            progress,
            members: Members::Itself,
            suspended: false,
            // A pod that opts out is not bare.
            opted_out: false,
            managed_elsewhere: false,
            // It is its own pod.
            wanted_pods: 0,
            back_off: BackOff::AfterFailures(0),
            retries: Retries::Exhausted,
            has_finalizer: false,
            // Its creator deletes it.
            owned: true,
            has_ttl: false,
            safe_to_duplicate: annotations.get(annotation::SAFE_TO_DUPLICATE).is_some_and(|v| v == label_value::TRUE),
            replaces_only_failed: true,
            started: created.map(|time| Start { at: time.0, ago: since(time.0, now) }),
        };
        Some((facts, bad))
    }
}

fn progress(status: &PodStatus) -> Progress {
    let failed = |reason: &str, message: &str| {
        Progress::Finished(Finish::Failed { reason: reason.to_owned(), message: message.to_owned() })
    };
    match (status.phase.as_deref(), verdict(status)) {
        (Some("Succeeded"), _) => Progress::Finished(Finish::Complete),
        // It was ended because of the verdict.
        (Some("Failed"), Some((reason, message))) => failed(reason, message),
        (Some("Failed"), None) => failed(
            status.reason.as_deref().unwrap_or(POD_FAILED),
            status.message.as_deref().unwrap_or("The pod has failed."),
        ),
        (_, Some((reason, message))) => Progress::Failing { reason: reason.to_owned(), message: message.to_owned() },
        (_, None) => Progress::Open,
    }
}

#[cfg(test)]
mod tests {
    use jobwarden_common::identity::JobUid;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::Policy;

    /// A bare pod with some fields changed.
    fn pod(change: &Value) -> Pod {
        let mut pod = json!({
            "metadata": {
                "namespace": "ort", "name": "once", "uid": "pod-uid", "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": { "jobwarden.io/enrolled": "true", "jobwarden.io/inject": "true" },
                "annotations": { "jobwarden.io/job-id": "7", "jobwarden.io/lost-after": "90s" }
            },
            "spec": { "containers": [{ "name": "main" }] },
            "status": { "phase": "Running" }
        });
        json_patch::merge(&mut pod, change);
        serde_json::from_value(pod).expect("a pod")
    }

    fn read(change: &Value) -> Option<JobFacts> {
        let wall = "2026-01-02T03:04:35Z".parse().expect("a time");
        JobFacts::of_bare_pod(&pod(change), &Policies::new(Policy::default()), wall).map(|(facts, _)| facts)
    }

    fn conditions(reason: &str) -> Value {
        json!([{ "type": "DisruptionTarget", "status": "True", "reason": reason, "message": "because" }])
    }

    #[test]
    fn a_bare_pod_is_a_job_with_its_own_annotations() {
        let facts = read(&json!({})).expect("it is bare");
        assert_eq!((facts.identity.kind, facts.identity.uid), (JobKind::BarePod, JobUid::from("pod-uid")));
        assert_eq!((facts.identity.name.as_str(), facts.identity.job_id), ("once", Some("7".into())));
        assert_eq!(facts.effective.policy.lost_after.as_secs(), 90);
        assert_eq!(facts.started.map(|start| start.ago.as_secs()), Some(30));
        assert_eq!((facts.progress, facts.deletion, facts.retries), (Progress::Open, None, Retries::Exhausted));
    }

    #[rstest]
    #[case::controlled_by_a_job(json!({"metadata": {"ownerReferences": [
        {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j", "controller": true}
    ]}}))]
    #[case::released_by_its_job(json!({"metadata": {"labels": {"jobwarden.io/inject": null}}}))]
    #[case::opted_out(json!({"metadata": {"labels": {"jobwarden.io/inject": "false"}}}))]
    fn other_pods_are_not_bare(#[case] change: Value) {
        assert_eq!(read(&change), None);
    }

    #[rstest]
    #[case::succeeded(json!({"phase": "Succeeded"}), "Complete")]
    #[case::failed(json!({"phase": "Failed"}), "PodFailed: The pod has failed.")]
    #[case::evicted(json!({"phase": "Failed", "reason": "Evicted", "message": "no disk"}), "Evicted: no disk")]
    #[case::marked_failed(json!({"phase": "Failed", "reason": "NodeGone", "message": "because"}), "NodeGone: because")]
    fn a_bare_pod_finishes_by_its_phase(#[case] status: Value, #[case] expected: &str) {
        let finish = match read(&json!({ "status": status })).expect("it is bare").progress {
            Progress::Finished(Finish::Complete) => "Complete".to_owned(),
            Progress::Finished(Finish::Failed { reason, message }) => format!("{reason}: {message}"),
            other => format!("{other:?}"),
        };
        assert_eq!(finish, expected);
    }

    #[rstest]
    #[case::lost("NodeUnreachable", true)]
    #[case::overdue("DeadlineExceeded", true)]
    #[case::evicted("EvictionByEvictionAPI", false)]
    #[case::tainted("DeletionByTaintManager", false)]
    fn a_deletion_follows_from_the_verdict_if_the_pod_carries_it(#[case] reason: &str, #[case] ours: bool) {
        let deleted = json!({
            "metadata": { "deletionTimestamp": "2026-01-02T03:05:05Z" },
            "status": { "conditions": conditions(reason) }
        });
        let facts = read(&deleted).expect("it is bare");
        assert_eq!(matches!(facts.progress, Progress::Failing { .. }), ours);
        assert_eq!(facts.deletion.is_none(), ours);
    }

    #[rstest]
    #[case::in_the_same_moment("Succeeded", Finish::Complete)]
    #[case::by_the_deletion("Failed", Finish::Failed { reason: "HeartbeatLost".to_owned(), message: "because".to_owned() })]
    fn a_pod_that_has_ended_is_not_being_failed(#[case] phase: &str, #[case] finish: Finish) {
        let ended = json!({ "status": { "phase": phase, "conditions": conditions("HeartbeatLost") } });
        assert_eq!(read(&ended).expect("it is bare").progress, Progress::Finished(finish));
    }
}
