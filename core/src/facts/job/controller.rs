//! What the Job controller is about to do, by its own rules (`manageJob` and `getRemainingTime` in `pkg/controller/job`, Kubernetes
//! 1.35): how many pods it wants, and how long it waits before it creates the next one.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{JobSpec, JobStatus};

/// How long the Job controller waits after the first failure (`DefaultJobPodFailureBackOff`). Each further failure doubles it.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);

/// How long it waits at most (`MaxJobPodFailureBackOff`).
pub(crate) const LONGEST_BACK_OFF: Duration = Duration::from_mins(10);

/// By what the Job controller measures its back-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackOff {
    /// By the failures since the last success, which are at most all that it has counted.
    AfterFailures(u32),
    /// By the failures of each index, which it notes on the pods (`backoffLimitPerIndex`).
    PerIndex,
    /// By failures that it has not counted as well (`podFailurePolicy` with the action `Ignore`).
    Uncounted,
}

/// How long the Job controller waits after this many failures in a row, from the last of them on.
pub(crate) fn back_off(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    FIRST_BACK_OFF.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_BACK_OFF)
}

/// By what the Job controller measures the back-off of this Job.
pub(super) fn measure(spec: &JobSpec, status: &JobStatus) -> BackOff {
    if spec.backoff_limit_per_index.is_some() {
        BackOff::PerIndex
    } else if spec.pod_failure_policy.is_some() {
        BackOff::Uncounted
    } else {
        BackOff::AfterFailures(failed(status))
    }
}

/// How many pods the Job controller wants to run. A Job without `completions` gets no further pod after its first success.
pub(crate) fn wanted_pods(spec: &JobSpec, status: &JobStatus) -> u32 {
    let parallelism = count(spec.parallelism.unwrap_or(1));
    let succeeded = succeeded(status);
    match (spec.completions, spec.parallelism) {
        (Some(completions), _) => parallelism.min(count(completions).saturating_sub(succeeded)),
        // The API sets both to 1.
        (None, None) => parallelism.saturating_sub(succeeded),
        (None, Some(_)) if succeeded > 0 => 0,
        (None, Some(_)) => parallelism,
    }
}

/// Whether a pod that is being deleted is neither counted nor replaced before it has ended (`podReplacementPolicy`, which the API sets
/// for every Job).
pub(crate) fn replaces_only_failed(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed")
}

/// The pods that have failed. Those that the Job controller has yet to count (`uncountedTerminatedPods`) have failed as well.
pub(super) fn failed(status: &JobStatus) -> u32 {
    let uncounted = status.uncounted_terminated_pods.as_ref().and_then(|pods| pods.failed.as_ref()).map_or(0, Vec::len);
    count(status.failed.unwrap_or(0)).saturating_add(u32::try_from(uncounted).unwrap_or(u32::MAX))
}

fn succeeded(status: &JobStatus) -> u32 {
    let uncounted =
        status.uncounted_terminated_pods.as_ref().and_then(|pods| pods.succeeded.as_ref()).map_or(0, Vec::len);
    count(status.succeeded.unwrap_or(0)).saturating_add(u32::try_from(uncounted).unwrap_or(u32::MAX))
}

/// A number of the API, which has no unsigned ones.
fn count(number: i32) -> u32 {
    number.try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case(0, 0)]
    #[case(1, 10)]
    #[case(2, 20)]
    #[case(4, 80)]
    #[case(6, 320)]
    #[case(7, 600)]
    #[case(u32::MAX, 600)]
    fn the_back_off_doubles_up_to_ten_minutes(#[case] failures: u32, #[case] seconds: u64) {
        assert_eq!(back_off(failures), Duration::from_secs(seconds));
    }

    fn spec(spec: &Value) -> JobSpec {
        let mut whole = json!({"template": {}});
        json_patch::merge(&mut whole, spec);
        serde_json::from_value(whole).expect("a spec")
    }

    #[allow(clippy::needless_pass_by_value, reason = "reads well with json!")]
    fn status(status: Value) -> JobStatus {
        serde_json::from_value(status).expect("a status")
    }

    #[rstest]
    #[case::new(json!({"parallelism": 1, "completions": 1}), json!({}), 1)]
    #[case::as_the_api_defaults_it(json!({}), json!({}), 1)]
    #[case::in_parallel(json!({"parallelism": 4, "completions": 10}), json!({"succeeded": 3}), 4)]
    #[case::the_last_ones(json!({"parallelism": 4, "completions": 10}), json!({"succeeded": 7, "uncountedTerminatedPods": {"succeeded": ["a"]}}), 2)]
    #[case::all_have_succeeded(json!({"parallelism": 4, "completions": 4}), json!({"succeeded": 4}), 0)]
    #[case::scaled_to_none(json!({"parallelism": 0, "completions": 4}), json!({}), 0)]
    #[case::work_queue(json!({"parallelism": 3}), json!({}), 3)]
    #[case::work_queue_that_is_empty(json!({"parallelism": 3}), json!({"succeeded": 1}), 0)]
    fn as_many_pods_are_wanted_as_may_run_and_are_left(#[case] of: Value, #[case] so_far: Value, #[case] wanted: u32) {
        assert_eq!(wanted_pods(&spec(&of), &status(so_far)), wanted);
    }

    #[rstest]
    #[case::by_its_failures(json!({}), BackOff::AfterFailures(3))]
    #[case::each_index_by_its_own(json!({"backoffLimitPerIndex": 2}), BackOff::PerIndex)]
    #[case::with_failures_that_are_not_counted(json!({"podFailurePolicy": {"rules": []}}), BackOff::Uncounted)]
    fn failures_count_from_when_the_controller_knows_of_them(#[case] of: Value, #[case] expected: BackOff) {
        let failures = json!({"failed": 2, "uncountedTerminatedPods": {"failed": ["a"]}});
        assert_eq!(measure(&spec(&of), &status(failures)), expected);
    }
}
