//! When a lost pod of a Job that retries is removed, and Jobs that may have no other pod beside it.

use super::*;
use crate::evidence::NodeEvidence;

/// A pod whose node went silent `seconds` ago, and that is lost after 30 s.
fn silent_for(seconds: u64, state: NodeState, avoided: bool) -> JobSnapshot {
    let mut pod = unreachable("w", NOW - seconds);
    let node = NodeEvidence { state, avoided, ..pod.node.clone().expect("a node") };
    pod.node = Some(node);
    let mut snapshot = mk_snapshot(retrying(Retries::Left), vec![pod]);
    snapshot.policy.lost_after = Duration::from_secs(30);
    snapshot
}

#[rstest]
#[case::the_scheduler_may_choose_it(40, NodeState::Ready, false, false)]
#[case::at_most_a_minute_after_the_loss(80, NodeState::Ready, false, true)]
#[case::cordoned(40, NodeState::Ready, true, true)]
#[case::not_ready(40, NodeState::NotReady, true, true)]
#[case::not_ready_and_not_tainted_yet(40, NodeState::NotReady, false, false)]
fn a_loss_is_reported_at_once_and_its_pod_removed_when_the_scheduler_avoids_the_node(
    #[case] silent: u64,
    #[case] state: NodeState,
    #[case] avoided: bool,
    #[case] removed: bool,
) {
    let snapshot = silent_for(silent, state, avoided);
    let reported = "record w-uid.attempt-failed attempt_failed NodeUnreachable";
    let expected = if removed {
        vec!["delete w", reported, "abandon w-uid", "notify NodeUnreachable"]
    } else {
        vec![reported, "notify NodeUnreachable"]
    };
    assert_eq!(planned(&snapshot), expected);
    let again = requeue_at(&snapshot, &judged(&snapshot), &Holds::default(), at(NOW));
    assert_eq!(again, (!removed).then(|| at(NOW - silent + 80)));
}

#[test]
fn a_worker_that_returns_before_its_removal_lives_and_is_reported_as_recovered() {
    let recorded = recorded_outcomes(&[OutcomeName::attempt_failed(&"w-uid".into(), Episode::default())], true);
    let back = mk_snapshot(retrying(Retries::Left), vec![mk_pod("w")]);
    assert_eq!(brief(&steps(&back, &recorded)), ["record w-uid.recovered recovered HeartbeatResumed"]);
    let mut recorded = recorded;
    recorded.outcomes.insert(OutcomeName::recovered("w-uid", Episode::default()), true);
    assert!(steps(&back, &recorded).is_empty());
    let lost_again = brief(&steps(&silent_for(40, NodeState::Ready, false), &recorded));
    assert_eq!(lost_again[0], "record w-uid.attempt-failed.1 attempt_failed NodeUnreachable");
}

#[test]
fn a_pod_that_is_lost_on_a_node_that_works_is_removed_at_once() {
    let mut snapshot =
        mk_snapshot(retrying(Retries::Left), vec![PodEvidence { cpu_progress: Some(at(1)), ..mk_pod("w") }]);
    snapshot.policy.stall_after = Some(Duration::from_mins(5));
    assert_eq!(planned(&snapshot)[0], "delete w");
}

/// A Job that replaces only failed pods, whose pod has been terminating on a dead node for `seconds`.
fn stranded_for(seconds: u64) -> JobSnapshot {
    let job = JobEvidence { replaces_only_failed: true, ..retrying(Retries::LeftToKubernetes) };
    mk_snapshot(job, vec![terminating(unreachable("w", 100), NOW - seconds)])
}

const STRANDED: &str = "record w-uid.suspect.stranded suspect Stranded";

#[test]
fn a_stranded_job_is_reported_at_once_and_failed_after_stranded_after() {
    let waiting = stranded_for(599);
    assert!(planned(&waiting).contains(&STRANDED.to_owned()), "{:?}", planned(&waiting));
    assert_eq!(requeue_at(&waiting, &judged(&waiting), &Holds::default(), at(NOW)), Some(at(NOW + 1)));
    let fails = [
        "fail NodeUnreachable",
        "record job-uid.final lost NodeUnreachable",
        "abandon w-uid",
        "notify NodeUnreachable",
    ];
    assert_eq!(planned(&stranded_for(600)), fails);
    let mut waits = stranded_for(900);
    waits.policy.stranded_after = None;
    assert!(planned(&waits).contains(&STRANDED.to_owned()));
    assert!(!planned(&waits).iter().any(|step| step.starts_with("fail")));
}

#[test]
fn a_job_of_which_something_else_runs_is_not_failed_for_a_stranded_pod() {
    let mut snapshot = stranded_for(600);
    snapshot.evidence.pods.push(mk_pod("alive"));
    assert!(planned(&snapshot).contains(&STRANDED.to_owned()));
    assert!(!planned(&snapshot).iter().any(|step| step.starts_with("fail")));
    snapshot.evidence.pods[1] = terminating(mk_pod("alive"), NOW - 1);
    assert!(!planned(&snapshot).iter().any(|step| step.starts_with("fail")), "it works until its grace period ends");
    snapshot.evidence.pods[1].phase = PodPhase::Succeeded;
    assert_eq!(planned(&snapshot)[0], "fail NodeUnreachable");
}

#[rstest]
#[case::may_be_replaced_beside_it(|job: &mut JobEvidence| job.replaces_only_failed = false)]
#[case::may_be_duplicated(|job: &mut JobEvidence| job.safe_to_duplicate = true)]
fn a_job_that_may_have_another_pod_is_not_stranded(#[case] change: fn(&mut JobEvidence)) {
    let mut snapshot = stranded_for(900);
    change(&mut snapshot.evidence.job);
    let planned = planned(&snapshot);
    assert!(!planned.iter().any(|step| step.contains("Stranded") || step.starts_with("fail")), "{planned:?}");
}

#[test]
fn a_pod_whose_node_is_known_to_be_gone_strands_no_job() {
    let mut snapshot = stranded_for(900);
    snapshot.evidence.pods = vec![terminating(on_gone_node("w"), NOW - 900)];
    assert_eq!(planned(&snapshot)[..2], ["mark-failed w", "force-delete w"]);
}

#[test]
fn what_the_api_server_refuses_is_reported_first_and_tried_again() {
    let mut recorded = Recorded::default();
    recorded.refused.insert(None, "cannot fail Job ort/analyzer-7: denied by policy".to_owned());
    let fails = mk_snapshot(open(), vec![unreachable("w", 100)]);
    let steps_of = |snapshot: &JobSnapshot, recorded: &Recorded| steps(snapshot, recorded);
    let planned = steps_of(&fails, &recorded);
    let Some(Step::Record(draft)) = planned.first() else { panic!("the outcome comes first: {planned:?}") };
    assert!(draft.data.message.ends_with("(cannot fail Job ort/analyzer-7: denied by policy). It is tried again."));
    assert_eq!(brief(&planned)[..2], ["record job-uid.final lost NodeUnreachable", "fail NodeUnreachable"]);

    let mut recorded = Recorded::default();
    recorded.refused.insert(Some("w-uid".into()), "cannot delete pod ort/w: forbidden".to_owned());
    let retries = mk_snapshot(retrying(Retries::Left), vec![unreachable("w", 100)]);
    let planned = brief(&steps_of(&retries, &recorded));
    assert_eq!(planned[..2], ["record w-uid.attempt-failed attempt_failed NodeUnreachable", "delete w"]);

    let mut recorded = Recorded::default();
    recorded.refused.insert(None, "forbidden".to_owned());
    let mut overdue = mk_snapshot(open(), vec![mk_pod("w")]);
    overdue.evidence.job.active =
        Some(crate::evidence::Active { start: jiff::Timestamp::UNIX_EPOCH, since: at(0), before: Duration::ZERO });
    overdue.policy.active_timeout = Some(Duration::from_mins(1));
    let planned = brief(&steps_of(&overdue, &recorded));
    assert_eq!(
        planned[..2],
        ["record job-uid.suspect.deadline-exceeded suspect DeadlineExceeded", "notify DeadlineExceeded"]
    );
}
