//! Bare pods: the steps for a Job of one pod, and what the Job controller would do.

use super::*;
use crate::{
    builders::evidence::mk_bare,
    evidence::{Active, JobEvidence},
};

fn final_outcome() -> OutcomeName {
    OutcomeName::job_final(&"w-uid".into())
}

fn once_recorded(snapshot: &JobSnapshot) -> Vec<String> {
    brief(&steps(snapshot, &recorded_outcomes(&[final_outcome()], true)))
}

fn drafted(snapshot: &JobSnapshot) -> OutcomeData {
    let steps = steps(snapshot, &Recorded::default());
    let mut drafts = steps.into_iter().filter_map(|step| match step {
        Step::Record(draft) => Some(draft.data),
        _ => None,
    });
    drafts.next().expect("something is recorded")
}

#[test]
fn a_lost_bare_pod_is_failed_because_no_controller_replaces_it() {
    let mut snapshot = mk_snapshot(mk_bare(JobStage::Open), vec![unreachable("w", 100)]);
    for on_lost in [OnLost::Retry, OnLost::Fail] {
        snapshot.policy.on_lost = on_lost;
        let expected = [
            "fail NodeUnreachable",
            "record w-uid.final lost NodeUnreachable",
            "abandon w-uid",
            "notify NodeUnreachable",
        ];
        assert_eq!(planned(&snapshot), expected);
    }
    let data = drafted(&snapshot);
    assert_eq!((data.job_name.as_str(), data.job_uid.as_str(), data.is_of_bare_pod()), ("w", "w-uid", true));
    assert!(data.message.ends_with("It is being deleted."), "{}", data.message);
}

#[test]
fn with_on_lost_report_a_bare_pod_is_kept() {
    let mut snapshot = mk_snapshot(mk_bare(JobStage::Open), vec![unreachable("w", 100)]);
    snapshot.policy.on_lost = OnLost::Report;
    assert_eq!(
        planned(&snapshot),
        ["record w-uid.suspect.node-unreachable suspect NodeUnreachable", "notify NodeUnreachable"]
    );
}

#[test]
fn a_bare_pod_with_our_verdict_is_deleted_after_a_crash_in_between() {
    let snapshot = mk_snapshot(mk_bare(failing("NodeUnreachable")), vec![unreachable("w", 100)]);
    assert_eq!(planned(&snapshot), ["record w-uid.final lost NodeUnreachable", "delete w"]);
    assert_eq!(once_recorded(&snapshot), ["delete w"]);
    let alive_again = mk_snapshot(mk_bare(failing("NodeUnreachable")), vec![mk_pod("w")]);
    assert_eq!(once_recorded(&alive_again), ["delete w"], "a verdict that was written stands");
}

#[rstest]
#[case::on_an_unreachable_node(unreachable("w", 100), "NodeUnreachable", &["mark-failed w", "abandon w-uid"])]
#[case::on_a_gone_node(on_gone_node("w"), "NodeGone", &["mark-failed w", "force-delete w", "abandon w-uid"])]
#[case::on_a_healthy_node(mk_pod("w"), "ImagePullFailed", &[])]
fn a_terminating_bare_pod_is_marked_failed_where_its_node_cannot_end_it(
    #[case] pod: PodEvidence,
    #[case] reason: &str,
    #[case] expected: &[&str],
) {
    let snapshot = mk_snapshot(mk_bare(failing(reason)), vec![terminating(pod, NOW - 5)]);
    assert_eq!(once_recorded(&snapshot), expected);
}

#[test]
fn a_deleted_bare_pod_is_reported_as_deleted() {
    let deleting = JobStage::Deleting { orphaning: false };
    let snapshot = mk_snapshot(mk_bare(deleting), vec![terminating(mk_pod("w"), NOW - 5)]);
    assert_eq!(planned(&snapshot), ["confirm-deleted", "record w-uid.final deleted PodDeleted"]);
    let snapshot = mk_snapshot(mk_bare(JobStage::Vanished), vec![]);
    assert_eq!(planned(&snapshot), ["confirm-deleted", "record w-uid.final deleted PodDeleted", "forget"]);
    assert_eq!(once_recorded(&snapshot), ["forget"]);
}

#[test]
fn a_succeeded_bare_pod_is_reported_and_not_deleted() {
    let mut snapshot =
        mk_snapshot(mk_bare(finished(None)), vec![PodEvidence { phase: PodPhase::Succeeded, ..mk_pod("w") }]);
    assert_eq!(planned(&snapshot), ["record w-uid.final succeeded PodCompleted"]);
    snapshot.policy.retention = Duration::ZERO;
    assert!(once_recorded(&snapshot).is_empty());
}

#[test]
fn a_failed_bare_pod_is_reported_with_its_own_cause() {
    let cause = Cause { container: Some("main".to_owned()), exit_code: Some(3), ..Cause::default() };
    let pod = PodEvidence { phase: PodPhase::Failed, cause: cause.clone(), ..mk_pod("w") };
    let data = drafted(&mk_snapshot(mk_bare(finished(Some("PodFailed"))), vec![pod]));
    assert_eq!((data.kind, data.reason.as_str(), data.cause), (OutcomeKind::Failed, "PodFailed", cause));
    assert_eq!(data.message, "the message. Container main ended with exit code 3.");
}

#[test]
fn a_bare_pod_that_was_marked_failed_is_lost() {
    let pod = PodEvidence { phase: PodPhase::Failed, ..on_gone_node("w") };
    let snapshot = mk_snapshot(mk_bare(finished(Some("NodeGone"))), vec![pod]);
    assert_eq!(planned(&snapshot), ["record w-uid.final lost NodeGone"]);
}

#[test]
fn an_overdue_bare_pod_is_failed_and_reported_once_it_carries_the_verdict() {
    let active = Some(Active { start: jiff::Timestamp::UNIX_EPOCH, since: at(1), before: Duration::from_hours(1) });
    let mut snapshot = mk_snapshot(JobEvidence { active, ..mk_bare(JobStage::Open) }, vec![mk_pod("w")]);
    snapshot.policy.active_timeout = Some(Duration::from_hours(1));
    assert_eq!(planned(&snapshot), ["end DeadlineExceeded", "notify DeadlineExceeded"]);
    snapshot.evidence.job.stage = failing("DeadlineExceeded");
    assert_eq!(planned(&snapshot), ["record w-uid.final failed DeadlineExceeded", "delete w"]);
}

#[test]
fn the_recovery_of_a_bare_pod_is_recorded_once() {
    let recorded = recorded_outcomes(&[OutcomeName::notice("w-uid", reason::UNSEEN, Episode::default())], true);
    let steps = steps(&mk_snapshot(mk_bare(JobStage::Open), vec![mk_pod("w")]), &recorded);
    assert_eq!(brief(&steps), ["record w-uid.recovered recovered HeartbeatResumed"]);
}
