//! Steps that follow only under some policies, and what the breaker holds.

use std::time::Duration;

use super::*;
use crate::{
    evidence::{Active, JobEvidence},
    guard::Scope,
    policy::NotStarting,
};

const BREAKER: Hold = Hold::Breaker { scope: Scope::Cluster, lost: 30, of: 40 };

fn held_by(snapshot: &JobSnapshot, hold: Option<Hold>) -> Vec<String> {
    brief(&plan(snapshot, &judged(snapshot), hold, &Recorded::default(), at(NOW)))
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
    assert_eq!(held_by(&overdue(), Some(hold)).is_empty(), !failed);
}

#[test]
fn j7_waits_for_the_job_controller() {
    let mut snapshot = overdue();
    snapshot.evidence.job.started = false;
    assert!(planned(&snapshot).is_empty());
}

#[test]
fn j6_a_job_without_a_pod_is_failed_if_the_policy_says_so_and_no_guard_holds() {
    let mut snapshot = mk_snapshot(JobEvidence { podless_since: Some(at(NOW - 600)), ..open() }, vec![]);
    snapshot.policy.not_starting = NotStarting::Fail;
    assert_eq!(planned(&snapshot), ["end NotStarting", "notify NotStarting"]);
    for hold in [BREAKER, Hold::SelfBeat, Hold::WarmUp { until: at(NOW + 7) }] {
        assert_eq!(
            held_by(&snapshot, Some(hold)),
            ["record job-uid.suspect.not-starting suspect NotStarting", "notify NotStarting"]
        );
    }
}

#[test]
fn the_breaker_holds_losses_but_not_with_a_deleted_node() {
    let snapshot = mk_snapshot(open(), vec![unreachable("w", 100)]);
    assert_eq!(
        held_by(&snapshot, Some(BREAKER)),
        ["record w-uid.suspect.held-node-unreachable suspect NodeUnreachable", "notify Held"]
    );
    for on_lost in [OnLost::Retry, OnLost::Fail] {
        let mut snapshot = mk_snapshot(open(), vec![on_gone_node("w")]);
        snapshot.policy.on_lost = on_lost;
        assert_eq!(held_by(&snapshot, Some(BREAKER)), planned(&snapshot));
        assert_eq!(
            held_by(&snapshot, Some(Hold::SelfBeat)),
            ["record w-uid.suspect.held-node-gone suspect NodeGone", "notify Held"]
        );
    }
}

#[test]
fn the_breaker_also_holds_the_lost_pods_of_an_ending_job() {
    let ending = |pod| mk_snapshot(mk_job(failing("DeadlineExceeded")), vec![terminating(pod, NOW - 5)]);
    assert!(held_by(&ending(unreachable("w", 100)), Some(BREAKER)).is_empty());
    let gone = ending(on_gone_node("w"));
    assert_eq!(held_by(&gone, Some(BREAKER)), planned(&gone));
    assert!(!planned(&gone).is_empty());
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
