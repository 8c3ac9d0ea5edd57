//! What each guard holds.

use std::time::Duration;

use rstest::rstest;

use super::*;
use crate::{
    builders::evidence::{NOW, at, held_by, mk_job, mk_pod, on_gone_node, terminating, unreachable},
    evidence::{Evidence, JobEvidence, JobStage, PodEvidence, PodPhase},
    health::SignalHealth,
    judge::judge,
    policy::{NotStarting, Policy},
    verdict::JobVerdict,
};

const BREAKER_HOLD: Hold = Hold::Breaker { counted: Counted::SilentNodes, scope: Scope::Cluster, affected: 3, of: 4 };
const SILENCE: LostReason = LostReason::NodeUnreachable;
const OBJECTS: LostReason = LostReason::NodeGone;

fn holds_at(health: SignalHealth, now: u64) -> Holds {
    let evidence = Evidence { job: mk_job(JobStage::Open), pods: vec![], listening_since: at(100) };
    let policy = Policy { lost_after: Duration::from_secs(30), ..Policy::default() };
    holds(&evidence, &policy, health, at(now))
}

#[rstest]
#[case::just_started(SignalHealth::Receiving, 100, Some(Hold::WarmUp { until: at(130) }))]
#[case::nearly_warm(SignalHealth::Receiving, 129, Some(Hold::WarmUp { until: at(130) }))]
#[case::warm(SignalHealth::Receiving, 130, None)]
#[case::not_receiving(SignalHealth::NotReceiving, 500, Some(Hold::SelfBeat))]
#[case::watch_down(SignalHealth::WatchDown, 500, Some(Hold::WatchDown))]
#[case::not_receiving_before_warm(SignalHealth::NotReceiving, 100, Some(Hold::SelfBeat))]
fn missing_signals_hold_losses(#[case] health: SignalHealth, #[case] now: u64, #[case] expected: Option<Hold>) {
    let holds = holds_at(health, now);
    assert_eq!(holds.of(&"w-uid".into(), SILENCE), expected);
    assert_eq!(holds.of_silence(), expected);
    let out_of_date = expected.filter(|hold| *hold == Hold::WatchDown);
    assert_eq!(holds.of(&"w-uid".into(), OBJECTS), out_of_date, "objects are held by watch-down alone");
    assert_eq!(holds.of_objects(), out_of_date);
}

#[test]
fn the_warm_up_lasts_until_the_breaker_has_counted_the_nodes() {
    let evidence = Evidence { job: mk_job(JobStage::Open), pods: vec![], listening_since: at(100) };
    let policy = Policy { lost_after: Duration::from_secs(1), ..Policy::default() };
    let until = at(115);
    let holds = holds(&evidence, &policy, SignalHealth::Receiving, at(101));
    assert_eq!(holds.of_silence(), Some(Hold::WarmUp { until }));
    assert!(until >= at(100) + SILENT_AFTER);
}

#[rstest]
#[case(LostReason::NodeGone, false)]
#[case(LostReason::ImagePullFailed, false)]
#[case(LostReason::CreateFailed, false)]
#[case(LostReason::StartTimeout, false)]
#[case(LostReason::ProcessGone, true)]
#[case(LostReason::OutcomeUnknown, true)]
#[case(LostReason::NodeUnreachable, true)]
#[case(LostReason::HeartbeatLost, true)]
#[case(LostReason::Stalled, true)]
#[case(LostReason::Unschedulable, false)]
fn a_loss_rests_on_missing_signals_or_on_objects(#[case] reason: LostReason, #[case] by_silence: bool) {
    for hold in [Hold::SelfBeat, Hold::WarmUp { until: at(130) }] {
        assert_eq!(Holds::from(hold).of(&"w-uid".into(), reason).is_some(), by_silence);
    }
    assert_eq!(Holds::from(Hold::WatchDown).of(&"w-uid".into(), reason), Some(Hold::WatchDown));
}

#[rstest]
#[case::open(mk_job(JobStage::Open), unreachable("w", 100), Hold::SelfBeat, true)]
#[case::open_by_the_breaker(mk_job(JobStage::Open), unreachable("w", 100), BREAKER_HOLD, true)]
#[case::another_pod(mk_job(JobStage::Open), unreachable("v", 100), BREAKER_HOLD, false)]
#[case::a_deleted_node(mk_job(JobStage::Open), on_gone_node("w"), Hold::SelfBeat, false)]
#[case::a_deleted_node_that_may_be_there(mk_job(JobStage::Open), on_gone_node("w"), Hold::WatchDown, true)]
#[case::nothing_lost(mk_job(JobStage::Open), mk_pod("w"), BREAKER_HOLD, false)]
#[case::suspended(suspended(), unreachable("w", 100), BREAKER_HOLD, false)]
#[case::suspended_and_terminating(suspended(), terminating(unreachable("w", 100), 900), BREAKER_HOLD, true)]
#[case::deleted_and_terminating(
    mk_job(JobStage::Vanished),
    terminating(unreachable("w", 100), 900),
    BREAKER_HOLD,
    true
)]
#[case::without_a_pod(podless(), PodEvidence { phase: PodPhase::Failed, ..mk_pod("w") }, Hold::SelfBeat, false)]
#[case::without_a_known_pod(podless(), PodEvidence { phase: PodPhase::Failed, ..mk_pod("w") }, Hold::WatchDown, true)]
fn a_guard_holds_what_would_be_written_without_it(
    #[case] job: JobEvidence,
    #[case] pod: PodEvidence,
    #[case] hold: Hold,
    #[case] is_held: bool,
) {
    let evidence = Evidence { job, pods: vec![pod], listening_since: at(0) };
    let policy = Policy { not_starting: NotStarting::Fail, ..Policy::default() };
    let judgement = judge(&evidence, &policy, at(NOW));
    let holds = held_by(Some(hold));
    assert_eq!(held(&evidence, &judgement, &policy, &holds), is_held.then_some(hold));
    if judgement.job == JobVerdict::NotStarting {
        assert_eq!(held(&evidence, &judgement, &Policy::default(), &holds), None, "it is only reported");
    }
}

fn suspended() -> JobEvidence {
    JobEvidence { suspended: true, ..mk_job(JobStage::Open) }
}

fn podless() -> JobEvidence {
    JobEvidence { podless_since: Some(at(1)), ..mk_job(JobStage::Open) }
}

#[rstest]
#[case(BREAKER_HOLD, "breaker (3 of 4 nodes in the cluster fell silent together)")]
#[case(
    Hold::Breaker { counted: Counted::ProcessGoneNodes, scope: Scope::Zone, affected: 2, of: 3 },
    "breaker (processes are gone on 2 of 3 nodes in its zone at the same time)"
)]
#[case(
    Hold::Breaker { counted: Counted::HeartbeatLostJobs, scope: Scope::Namespace, affected: 5, of: 9 },
    "breaker (5 of 9 Jobs in its namespace lost their heartbeats at the same time)"
)]
#[case(Hold::SelfBeat, "self-beat")]
fn a_hold_states_its_reason(#[case] hold: Hold, #[case] expected: &str) {
    assert_eq!(hold.to_string(), expected);
}
