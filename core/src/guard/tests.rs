//! What each guard holds.

use std::time::Duration;

use rstest::rstest;

use super::*;
use crate::{
    builders::evidence::{NOW, at, mk_job, mk_pod, on_gone_node, terminating, unreachable},
    evidence::{JobEvidence, JobStage, PodEvidence, PodPhase},
    judge::judge,
};

const BREAKER: Hold = Hold::Breaker { scope: Scope::Cluster, lost: 30, of: 40 };

fn hold_at(health: SignalHealth, now: u64) -> Option<Hold> {
    let evidence = Evidence { job: mk_job(JobStage::Open), pods: vec![], listening_since: at(100) };
    let policy = Policy { lost_after: Duration::from_secs(30), ..Policy::default() };
    hold(&evidence, &policy, health, at(now))
}

#[rstest]
#[case::just_started(SignalHealth::Receiving, 100, Some(Hold::WarmUp { until: at(130) }))]
#[case::nearly_warm(SignalHealth::Receiving, 129, Some(Hold::WarmUp { until: at(130) }))]
#[case::warm(SignalHealth::Receiving, 130, None)]
#[case::not_receiving(SignalHealth::NotReceiving, 500, Some(Hold::SelfBeat))]
#[case::watch_down(SignalHealth::WatchDown, 500, Some(Hold::WatchDown))]
#[case::not_receiving_before_warm(SignalHealth::NotReceiving, 100, Some(Hold::SelfBeat))]
fn missing_signals_hold_losses(#[case] health: SignalHealth, #[case] now: u64, #[case] expected: Option<Hold>) {
    assert_eq!(hold_at(health, now), expected);
}

#[rstest]
#[case(Hold::WarmUp { until: at(130) }, true)]
#[case(Hold::SelfBeat, true)]
#[case(Hold::WatchDown, true)]
#[case(BREAKER, false)]
fn only_the_breaker_does_not_hold_the_loss_with_a_deleted_node(#[case] hold: Hold, #[case] holds: bool) {
    assert_eq!(hold.holds(LostReason::NodeGone), holds);
    assert!(hold.holds(LostReason::NodeUnreachable));
}

#[rstest]
#[case::open(mk_job(JobStage::Open), unreachable("w", 100), Hold::SelfBeat, true)]
#[case::open_by_the_breaker(mk_job(JobStage::Open), unreachable("w", 100), BREAKER, true)]
#[case::a_deleted_node(mk_job(JobStage::Open), on_gone_node("w"), Hold::SelfBeat, true)]
#[case::a_deleted_node_is_not_held_by_the_breaker(mk_job(JobStage::Open), on_gone_node("w"), BREAKER, false)]
#[case::nothing_lost(mk_job(JobStage::Open), mk_pod("w"), BREAKER, false)]
#[case::suspended(suspended(), unreachable("w", 100), BREAKER, false)]
#[case::suspended_and_terminating(suspended(), terminating(unreachable("w", 100), 900), BREAKER, true)]
#[case::deleted_and_terminating(mk_job(JobStage::Vanished), terminating(unreachable("w", 100), 900), BREAKER, true)]
#[case::without_a_pod(podless(), PodEvidence { phase: PodPhase::Failed, ..mk_pod("w") }, BREAKER, true)]
fn a_guard_holds_what_would_be_written_without_it(
    #[case] job: JobEvidence,
    #[case] pod: PodEvidence,
    #[case] hold: Hold,
    #[case] held: bool,
) {
    let evidence = Evidence { job, pods: vec![pod], listening_since: at(0) };
    let policy = Policy { not_starting: NotStarting::Fail, ..Policy::default() };
    let judgement = judge(&evidence, &policy, at(NOW));
    assert_eq!(is_held(&evidence, &judgement, &policy, hold), held);
    if judgement.job == JobVerdict::NotStarting {
        assert!(!is_held(&evidence, &judgement, &Policy::default(), BREAKER), "it is only reported");
    }
}

fn suspended() -> JobEvidence {
    JobEvidence { suspended: true, ..mk_job(JobStage::Open) }
}

fn podless() -> JobEvidence {
    JobEvidence { podless_since: Some(at(1)), ..mk_job(JobStage::Open) }
}

#[test]
fn a_hold_states_its_reason() {
    assert_eq!(BREAKER.to_string(), "breaker (30 of 40 Jobs in the cluster are silent or lost at the same time)");
    assert_eq!(Hold::SelfBeat.to_string(), "self-beat");
}
