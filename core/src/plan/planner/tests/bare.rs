//! Bare pods: what is done is what is done to a Job of one pod, and what the Job controller does to one.

use std::time::Duration;

use super::*;
use crate::{
    builders::evidence::mk_bare,
    evidence::{Active, JobEvidence},
};

fn final_outcome() -> OutcomeName {
    OutcomeName::job_final(&"w-uid".into())
}

fn once_recorded(snapshot: &JobSnapshot) -> Vec<String> {
    brief(&steps(snapshot, &having(&[final_outcome()], true)))
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
fn a_lost_one_is_failed_and_told_for_nobody_makes_another() {
    let mut snapshot = mk_snapshot(mk_bare(JobStage::Open), vec![unreachable("w", 100)]);
    for on_lost in [OnLost::Retry, OnLost::Fail] {
        snapshot.policy.on_lost = on_lost;
        let expected = [
            "fail NodeUnreachable",
            "record w-uid.final lost NodeUnreachable",
            "abandon w-uid",
            "tell NodeUnreachable",
        ];
        assert_eq!(planned(&snapshot), expected);
    }
    let data = drafted(&snapshot);
    assert_eq!((data.job_name.as_str(), data.job_uid.as_str(), data.is_of_bare_pod()), ("w", "w-uid", true));
    assert!(data.message.ends_with("It is being deleted."), "{}", data.message);
}

#[test]
fn one_of_which_only_a_report_is_wanted_is_kept() {
    let mut snapshot = mk_snapshot(mk_bare(JobStage::Open), vec![unreachable("w", 100)]);
    snapshot.policy.on_lost = OnLost::Report;
    assert_eq!(planned(&snapshot), ["record w-uid.suspect suspect NodeUnreachable", "tell NodeUnreachable"]);
}

#[test]
fn what_bears_our_verdict_is_deleted_though_who_wrote_it_did_not_live_to_do_it() {
    let snapshot = mk_snapshot(mk_bare(failing("NodeUnreachable")), vec![unreachable("w", 100)]);
    assert_eq!(planned(&snapshot), ["record w-uid.final lost NodeUnreachable", "delete w"]);
    assert_eq!(once_recorded(&snapshot), ["delete w"]);
    let heard_again = mk_snapshot(mk_bare(failing("NodeUnreachable")), vec![mk_pod("w")]);
    assert_eq!(once_recorded(&heard_again), ["delete w"], "a verdict that was written stands");
}

#[rstest]
#[case::whose_node_may_come_back(unreachable("w", 100), "NodeUnreachable", &["give-up w", "abandon w-uid"])]
#[case::whose_node_is_gone(on_gone_node("w"), "NodeGone", &["give-up w", "force-delete w", "abandon w-uid"])]
#[case::whose_kubelet_ends_it(mk_pod("w"), "ImagePullFailed", &[])]
fn one_that_terminates_is_given_up_where_its_node_cannot_end_it(
    #[case] pod: PodEvidence,
    #[case] reason: &str,
    #[case] expected: &[&str],
) {
    let snapshot = mk_snapshot(mk_bare(failing(reason)), vec![terminating(pod, NOW - 5)]);
    assert_eq!(once_recorded(&snapshot), expected);
}

#[test]
fn one_that_was_deleted_is_told_of_as_deleted() {
    let deleting = JobStage::Deleting { orphaning: false };
    let snapshot = mk_snapshot(mk_bare(deleting), vec![terminating(mk_pod("w"), NOW - 5)]);
    assert_eq!(planned(&snapshot), ["confirm-deleted", "record w-uid.final deleted PodDeleted"]);
    let snapshot = mk_snapshot(mk_bare(JobStage::Vanished), vec![]);
    assert_eq!(planned(&snapshot), ["confirm-deleted", "record w-uid.final deleted PodDeleted", "forget"]);
    assert_eq!(once_recorded(&snapshot), ["forget"]);
}

#[test]
fn one_that_has_succeeded_is_told_of_and_left_to_whoever_made_it() {
    let mut snapshot =
        mk_snapshot(mk_bare(finished(None)), vec![PodEvidence { phase: PodPhase::Succeeded, ..mk_pod("w") }]);
    assert_eq!(planned(&snapshot), ["record w-uid.final succeeded PodCompleted"]);
    snapshot.policy.retention = Duration::ZERO;
    assert!(once_recorded(&snapshot).is_empty());
}

#[test]
fn one_that_has_failed_is_told_of_with_its_own_cause() {
    let cause = Cause { container: Some("main".to_owned()), exit_code: Some(3), ..Cause::default() };
    let pod = PodEvidence { phase: PodPhase::Failed, cause: cause.clone(), ..mk_pod("w") };
    let data = drafted(&mk_snapshot(mk_bare(finished(Some("PodFailed"))), vec![pod]));
    assert_eq!((data.kind, data.reason.as_str(), data.cause), (OutcomeKind::Failed, "PodFailed", cause));
    assert_eq!(data.message, "so it was. Container main ended with exit code 3.");
}

#[test]
fn one_that_was_given_up_is_lost() {
    let pod = PodEvidence { phase: PodPhase::Failed, ..on_gone_node("w") };
    let snapshot = mk_snapshot(mk_bare(finished(Some("NodeGone"))), vec![pod]);
    assert_eq!(planned(&snapshot), ["record w-uid.final lost NodeGone"]);
}

#[test]
fn one_that_runs_too_long_is_failed_and_told_when_the_verdict_is_on_it() {
    let active = Some(Active { since: at(1), before: Duration::from_hours(1) });
    let mut snapshot = mk_snapshot(JobEvidence { active, ..mk_bare(JobStage::Open) }, vec![mk_pod("w")]);
    snapshot.policy.active_timeout = Some(Duration::from_hours(1));
    assert_eq!(planned(&snapshot), ["end DeadlineExceeded", "tell DeadlineExceeded"]);
    snapshot.evidence.job.stage = failing("DeadlineExceeded");
    assert_eq!(planned(&snapshot), ["record w-uid.final failed DeadlineExceeded", "delete w"]);
}
