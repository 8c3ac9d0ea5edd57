//! Steps that follow only under some policies, and what the breaker holds.

use super::*;
use crate::{
    evidence::{Active, JobEvidence},
    guard::{Counted, Scope},
    policy::NotStarting,
};

const BREAKER: Hold = Hold::Breaker { counted: Counted::SilentNodes, scope: Scope::Cluster, affected: 3, of: 4 };

fn planned_under(snapshot: &JobSnapshot, hold: Hold) -> Vec<String> {
    brief(&plan(snapshot, &judged(snapshot), &held_by(Some(hold)), &Recorded::default(), at(NOW)))
}

fn overdue() -> JobSnapshot {
    let active = Some(Active { start: jiff::Timestamp::UNIX_EPOCH, since: at(1), before: Duration::from_hours(1) });
    let mut snapshot = mk_snapshot(JobEvidence { active, ..open() }, vec![mk_pod("w")]);
    snapshot.policy.active_timeout = Some(Duration::from_hours(1));
    snapshot
}

#[test]
fn j7_an_overdue_job_is_failed_whatever_the_policy_on_losses() {
    let mut snapshot = overdue();
    for on_lost in [OnLost::Retry, OnLost::Fail, OnLost::Report] {
        snapshot.policy.on_lost = on_lost;
        assert_eq!(planned(&snapshot), ["end DeadlineExceeded", "notify DeadlineExceeded"]);
    }
    let Some(Step::EndJob { message, .. }) = steps(&snapshot, &Recorded::default()).into_iter().next() else {
        panic!("it is failed first");
    };
    assert_eq!(message, "The Job has run longer than its active-timeout of 1h.");
}

#[rstest]
#[case::watch_down(Hold::WatchDown, false)]
#[case::self_beat(Hold::SelfBeat, true)]
#[case::warm_up(Hold::WarmUp { until: at(NOW + 7) }, true)]
#[case::breaker(BREAKER, true)]
fn j7_is_held_only_while_the_job_may_be_out_of_date(#[case] hold: Hold, #[case] failed: bool) {
    assert_eq!(planned_under(&overdue(), hold).is_empty(), !failed);
}

#[test]
fn j7_waits_for_the_job_controller() {
    let mut snapshot = overdue();
    snapshot.evidence.job.started = false;
    assert!(planned(&snapshot).is_empty());
}

#[test]
fn j6_a_job_without_a_pod_is_failed_if_the_policy_says_so_and_the_job_is_up_to_date() {
    let mut snapshot = mk_snapshot(JobEvidence { podless_since: Some(at(NOW - 600)), ..open() }, vec![]);
    snapshot.policy.not_starting = NotStarting::Fail;
    assert_eq!(planned(&snapshot), ["end NotStarting", "notify NotStarting"]);
    for hold in [BREAKER, Hold::SelfBeat, Hold::WarmUp { until: at(NOW + 7) }] {
        assert_eq!(planned_under(&snapshot, hold), planned(&snapshot));
    }
    let held = ["record job-uid.suspect.not-starting suspect NotStarting", "notify NotStarting"];
    assert_eq!(planned_under(&snapshot, Hold::WatchDown), held);
}

#[rstest]
#[case(OnLost::Retry)]
#[case(OnLost::Fail)]
fn a_loss_with_a_deleted_node_is_held_only_while_the_node_may_be_out_of_date(#[case] on_lost: OnLost) {
    let mut snapshot = mk_snapshot(open(), vec![on_gone_node("w")]);
    snapshot.policy.on_lost = on_lost;
    for hold in [Hold::SelfBeat, Hold::WarmUp { until: at(NOW + 7) }] {
        assert_eq!(planned_under(&snapshot, hold), planned(&snapshot));
    }
    let held = ["record w-uid.suspect.held-node-gone suspect NodeGone", "notify Held"];
    assert_eq!(planned_under(&snapshot, Hold::WatchDown), held);
}

#[test]
fn the_breaker_holds_the_lost_pods_of_open_and_of_ending_jobs() {
    let open = mk_snapshot(open(), vec![unreachable("w", 100)]);
    assert_eq!(
        planned_under(&open, BREAKER),
        ["record w-uid.suspect.held-node-unreachable suspect NodeUnreachable", "notify Held"]
    );
    let terminating = terminating(unreachable("w", 100), NOW - 5);
    let ending = mk_snapshot(mk_job(failing("DeadlineExceeded")), vec![terminating]);
    assert!(planned_under(&ending, BREAKER).is_empty());
    assert!(!planned(&ending).is_empty());
}

#[test]
fn the_breaker_holds_the_loss_of_one_pod_and_not_of_another_of_the_same_job() {
    let snapshot = mk_snapshot(retrying(Retries::Left), vec![unreachable("w", 100), unreachable("v", 100)]);
    let planned = planned_under(&snapshot, BREAKER);
    assert!(planned.contains(&"delete v".to_owned()) && !planned.contains(&"delete w".to_owned()), "{planned:?}");
}

/// A live worker that has used no CPU time for ten minutes.
fn stalled() -> JobSnapshot {
    let mut snapshot =
        mk_snapshot(retrying(Retries::Left), vec![PodEvidence { cpu_progress: Some(at(NOW - 600)), ..mk_pod("w") }]);
    snapshot.policy.stall_after = Some(Duration::from_mins(5));
    snapshot
}

#[test]
fn p12_a_stalled_pod_is_deleted_and_left_to_its_kubelet() {
    let mut snapshot = stalled();
    let expected =
        ["delete w", "record w-uid.attempt-failed attempt_failed Stalled", "abandon w-uid", "notify Stalled"];
    assert_eq!(planned(&snapshot), expected);
    snapshot.evidence.job.safe_to_duplicate = true;
    assert_eq!(planned(&snapshot), expected);
    snapshot.policy.on_lost = OnLost::Fail;
    assert_eq!(planned(&snapshot)[..2], ["fail Stalled", "record job-uid.final lost Stalled"]);
}

#[test]
fn p12_signs_of_life_during_the_grace_period_are_no_event() {
    let mut snapshot = stalled();
    snapshot.evidence.pods = vec![terminating(snapshot.evidence.pods.remove(0), NOW - 5)];
    let mut recorded = recorded_outcomes(&[OutcomeName::attempt_failed(&"w-uid".into(), Episode::default())], true);
    recorded.notified.insert((Some("w-uid".into()), reason::STALLED));
    recorded.abandoned.insert("w-uid".into());
    assert!(steps(&snapshot, &recorded).is_empty());
}

#[test]
fn p13_a_pod_without_a_node_is_fenced() {
    let unscheduled = PodEvidence {
        phase: PodPhase::Pending,
        node: None,
        bound_since: None,
        unscheduled_since: Some(at(NOW - 300)),
        ..mk_pod("w")
    };
    let mut snapshot = mk_snapshot(retrying(Retries::Left), vec![unscheduled]);
    assert!(planned(&snapshot).is_empty());
    snapshot.policy.unscheduled_timeout = Some(Duration::from_mins(5));
    let expected = [
        "delete w",
        "mark-failed w",
        "force-delete w",
        "record w-uid.attempt-failed attempt_failed Unschedulable",
        "abandon w-uid",
        "notify Unschedulable",
    ];
    assert_eq!(planned(&snapshot), expected);
}
