//! Of a Job that Kubernetes has failed.

use jobwarden_common::notification::{Cause, CauseKind};

use super::by;

/// The Job controller's own sentence about a deadline (`pkg/controller/job/job_controller.go`). A Job that was failed by us for its
/// `active-timeout` has the same reason, for it means the same, and another sentence.
const DEADLINE_BY_KUBERNETES: &str = "Job was active longer than specified deadline";

/// Why a Job failed, by the reason and message of its condition `Failed` and the cause of the pod that decided.
///
/// `BackoffLimitExceeded`, `FailedIndexes` and the like only count pods: the last one's own cause is the Job's.
pub fn of_failed_job(reason: &str, message: &str, pod: Cause) -> Cause {
    let said = || Some(message.to_owned()).filter(|message| !message.is_empty());
    match (reason, pod.kind) {
        // A pod that cannot start runs into any deadline.
        ("DeadlineExceeded", Some(kind)) if could_not_start(kind) => pod,
        ("DeadlineExceeded", kind) => {
            // The end of the container follows from the deadline; a pod that had failed before has no part in it.
            let of_it = matches!(kind, None | Some(CauseKind::Deleted | CauseKind::DeadlineExceeded));
            Cause {
                kind: Some(CauseKind::DeadlineExceeded),
                reason: Some(reason.to_owned()),
                message: said(),
                by: Some(if message == DEADLINE_BY_KUBERNETES { by::JOB } else { by::US }.to_owned()),
                ..if of_it { pod } else { Cause::default() }
            }
        }
        ("PodFailurePolicy", None | Some(CauseKind::ExitCode | CauseKind::Signal | CauseKind::Deleted)) => {
            Cause { kind: Some(CauseKind::PodFailurePolicy), reason: Some(reason.to_owned()), message: said(), ..pod }
        }
        _ => pod,
    }
}

/// Whether the pod waited to start, and would have waited for as long as it existed.
pub(crate) fn could_not_start(kind: CauseKind) -> bool {
    matches!(kind, CauseKind::Unschedulable | CauseKind::ImagePullFailed | CauseKind::CreateFailed)
}

/// The pod that the message of the condition names: `Container main for pod ns/name failed with exit code 3 matching
/// FailJob rule at index 0`, `Pod ns/name has condition …` (`pkg/controller/job/pod_failure_policy.go`).
pub fn named_pod<'a>(message: &'a str, namespace: &str) -> Option<&'a str> {
    let mut words = message.split_whitespace();
    words.by_ref().find(|word| word.eq_ignore_ascii_case("pod"))?;
    let (of, name) = words.next()?.split_once('/')?;
    (of == namespace).then_some(name)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of_kind(kind: CauseKind) -> Cause {
        Cause { kind: Some(kind), exit_code: Some(143), reason: Some("its own".to_owned()), ..Cause::default() }
    }

    #[rstest]
    #[case("BackoffLimitExceeded", CauseKind::OomKilled, CauseKind::OomKilled, Some(143))]
    #[case("FailedIndexes", CauseKind::ExitCode, CauseKind::ExitCode, Some(143))]
    #[case("DeadlineExceeded", CauseKind::Deleted, CauseKind::DeadlineExceeded, Some(143))]
    #[case("DeadlineExceeded", CauseKind::ExitCode, CauseKind::DeadlineExceeded, None)]
    #[case("DeadlineExceeded", CauseKind::ImagePullFailed, CauseKind::ImagePullFailed, Some(143))]
    #[case("DeadlineExceeded", CauseKind::Unschedulable, CauseKind::Unschedulable, Some(143))]
    #[case("PodFailurePolicy", CauseKind::ExitCode, CauseKind::PodFailurePolicy, Some(143))]
    #[case("PodFailurePolicy", CauseKind::OomKilled, CauseKind::OomKilled, Some(143))]
    #[case("PodFailurePolicy", CauseKind::Preempted, CauseKind::Preempted, Some(143))]
    fn the_jobs_reason_and_the_pods_cause_make_one(
        #[case] reason: &str,
        #[case] pod: CauseKind,
        #[case] expected: CauseKind,
        #[case] exit_code: Option<i32>,
    ) {
        let cause = of_failed_job(reason, "as it says", of_kind(pod));
        assert_eq!((cause.kind, cause.exit_code), (Some(expected), exit_code));
    }

    #[rstest]
    #[case("Job was active longer than specified deadline", "job-controller")]
    #[case("The Job has run longer than its active-timeout of 2m.", "jobwarden")]
    fn whoever_keeps_a_deadline_says_so(#[case] message: &str, #[case] by: &str) {
        assert_eq!(of_failed_job("DeadlineExceeded", message, Cause::default()).by.as_deref(), Some(by));
    }

    #[test]
    fn a_policy_is_told_in_the_job_controllers_words() {
        let cause = of_failed_job("PodFailurePolicy", "rule 0", of_kind(CauseKind::ExitCode));
        assert_eq!((cause.reason.as_deref(), cause.message.as_deref()), (Some("PodFailurePolicy"), Some("rule 0")));
    }

    #[rstest]
    #[case("Container main for pod ort/w-1 failed with exit code 3 matching FailJob rule at index 0", Some("w-1"))]
    #[case("Pod ort/w-2 has condition DisruptionTarget matching FailJob rule at index 1", Some("w-2"))]
    #[case("Pod other/w-2 has condition DisruptionTarget matching FailJob rule at index 1", None)]
    #[case("Job has reached the specified backoff limit", None)]
    fn a_policys_message_names_the_pod(#[case] message: &str, #[case] pod: Option<&str>) {
        assert_eq!(named_pod(message, "ort"), pod);
    }
}
