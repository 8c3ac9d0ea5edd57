use std::time::Duration;

use rstest::rstest;

use super::*;
use crate::{
    enforce::fixtures::{at, mk_job},
    evidence::JobStage,
};

const BREAKER: Hold = Hold::Breaker { scope: Scope::Cluster, lost: 30, of: 40 };

fn hold_at(ears: Ears, now: u64) -> Option<Hold> {
    let evidence = Evidence { job: mk_job(JobStage::Open), pods: vec![], listening_since: at(100) };
    let policy = Policy { lost_after: Duration::from_secs(30), ..Policy::default() };
    hold(&evidence, &policy, ears, at(now))
}

#[rstest]
#[case::just_begun(Ears::Open, 100, Some(Hold::WarmUp { until: at(130) }))]
#[case::nearly_warm(Ears::Open, 129, Some(Hold::WarmUp { until: at(130) }))]
#[case::warm(Ears::Open, 130, None)]
#[case::deaf(Ears::Deaf, 500, Some(Hold::Deaf))]
#[case::blindfolded(Ears::Blindfolded, 500, Some(Hold::WatchDown))]
#[case::deaf_before_warm(Ears::Deaf, 100, Some(Hold::Deaf))]
fn what_is_not_heard_holds(#[case] ears: Ears, #[case] now: u64, #[case] expected: Option<Hold>) {
    assert_eq!(hold_at(ears, now), expected);
}

#[rstest]
#[case(Hold::WarmUp { until: at(130) }, true)]
#[case(Hold::Deaf, true)]
#[case(Hold::WatchDown, true)]
#[case(BREAKER, false)]
fn a_deleted_node_passes_the_breaker_alone(#[case] hold: Hold, #[case] holds: bool) {
    assert_eq!(hold.holds(LostReason::NodeGone), holds);
    assert!(hold.holds(LostReason::NodeUnreachable));
}

#[test]
fn a_hold_says_why() {
    assert_eq!(BREAKER.to_string(), "breaker (30 of 40 Jobs in the cluster are silent or lost at one time)");
    assert_eq!(Hold::Deaf.to_string(), "deaf");
}
