//! Attempts that Kubernetes has replaced or dropped.

use super::*;

/// A pod that was drained while it was alive, and whose node was deleted 200 s later.
fn drained() -> PodEvidence {
    terminating(on_gone_node("w"), 300)
}

fn under(on_lost: OnLost, job: JobEvidence, pods: Vec<PodEvidence>) -> Vec<String> {
    let mut snapshot = mk_snapshot(job, pods);
    snapshot.policy.on_lost = on_lost;
    // Its last beat arrived after its deletion.
    for pod in snapshot.evidence.pods.iter_mut().filter(|pod| pod.name == "w") {
        (pod.beat, pod.agent) = (LastBeat::Running { last: at(400) }, AgentObservation::Alive { last: at(400) });
    }
    planned(&snapshot)
}

const CLEANED_UP: [&str; 2] = ["mark-failed w", "force-delete w"];

#[rstest]
#[case(OnLost::Fail, Retries::Left)]
#[case(OnLost::Fail, Retries::Exhausted)]
#[case(OnLost::Retry, Retries::Left)]
#[case(OnLost::Retry, Retries::Exhausted)]
fn the_loss_of_a_replaced_attempt_is_cleaned_up_and_reported_to_nobody(
    #[case] on_lost: OnLost,
    #[case] retries: Retries,
) {
    assert_eq!(under(on_lost, retrying(retries), vec![drained(), mk_pod("v")]), CLEANED_UP);
    assert_eq!(under(on_lost, retrying(retries), vec![drained()]), CLEANED_UP, "its replacement is being created");
}

#[test]
fn with_on_lost_report_nothing_is_done_about_a_replaced_attempt() {
    assert!(under(OnLost::Report, open(), vec![drained(), mk_pod("v")]).is_empty());
}

#[test]
fn on_a_silent_node_a_replaced_attempt_is_left_alone() {
    let silent = terminating(unreachable("w", 400), 300);
    assert!(under(OnLost::Fail, open(), vec![silent, mk_pod("v")]).is_empty());
}

#[test]
fn a_guard_holds_the_cleanup_of_a_replaced_attempt_without_a_notice() {
    let mut snapshot = mk_snapshot(open(), vec![drained(), mk_pod("v")]);
    (snapshot.evidence.pods[0].beat, snapshot.evidence.pods[0].agent) =
        (LastBeat::Running { last: at(400) }, AgentObservation::None);
    let steps = plan(&snapshot, &judged(&snapshot), &held_by(Some(Hold::WatchDown)), &Recorded::default(), at(NOW));
    assert!(steps.is_empty(), "{steps:?}");
}

#[test]
fn a_pod_that_was_lost_before_it_was_deleted_is_a_failed_attempt() {
    // We may have deleted it, and have recorded nothing yet.
    let mut snapshot = mk_snapshot(open(), vec![terminating(unreachable("w", 100), 300), mk_pod("v")]);
    snapshot.policy.on_lost = OnLost::Fail;
    let planned = planned(&snapshot);
    assert!(planned.contains(&"record w-uid.attempt-failed attempt_failed NodeUnreachable".to_owned()), "{planned:?}");
    assert!(!planned.iter().any(|step| step.starts_with("fail")), "{planned:?}");
}

#[test]
fn a_pod_that_was_deleted_because_it_stalled_is_a_failed_attempt_whatever_happens_to_it_then() {
    let alive = AgentObservation::Alive { last: at(295) };
    let pod = PodEvidence { cpu_progress: Some(at(100)), agent: alive, ..drained() };
    let mut snapshot = mk_snapshot(retrying(Retries::Left), vec![pod, mk_pod("v")]);
    snapshot.policy.stall_after = Some(Duration::from_mins(1));
    let planned = planned(&snapshot);
    assert!(planned.contains(&"record w-uid.attempt-failed attempt_failed NodeGone".to_owned()), "{planned:?}");
}

#[rstest]
#[case::its_processes_ended(LastBeat::None, AgentObservation::Gone { since: at(400), reports: GONE_REPORTS })]
#[case::its_sidecar_was_stopped(LastBeat::Ending { last: at(400) }, AgentObservation::None)]
fn a_worker_that_ended_after_its_deletion_was_not_lost_before(#[case] beat: LastBeat, #[case] agent: AgentObservation) {
    let pod = PodEvidence { beat, agent, ..terminating(unreachable("w", 100), 300) };
    let snapshot = mk_snapshot(open(), vec![pod, mk_pod("v")]);
    assert!(!planned(&snapshot).iter().any(|step| step.starts_with("record")), "{:?}", planned(&snapshot));
}

#[rstest]
#[case::needed(1, vec![], true)]
#[case::replaced_after_all(1, vec![mk_pod("v")], false)]
#[case::one_of_two_is_missing(2, vec![mk_pod("v")], true)]
#[case::scaled_away(0, vec![], false)]
fn where_pods_are_replaced_once_they_have_ended_a_loss_counts_if_the_pod_is_needed(
    #[case] wanted_pods: u32,
    #[case] others: Vec<PodEvidence>,
    #[case] fails: bool,
) {
    let job = JobEvidence { replaces_only_failed: true, wanted_pods, ..retrying(Retries::Exhausted) };
    let pods = [vec![drained()], others].concat();
    for on_lost in [OnLost::Fail, OnLost::Retry] {
        let planned = under(on_lost, job.clone(), pods.clone());
        assert_eq!(planned[0] == "fail NodeGone", fails, "{planned:?}");
    }
}
