//! Laws that hold for every evidence about a pod.

use proptest::prelude::*;

use super::*;

/// What must not change before the recheck. The signals may: not every change of a signal changes a verdict.
fn verdicts(judgement: &Judgement) -> (JobVerdict, PodVerdict, Option<Moment>) {
    (judgement.job, judgement.pods[0].verdict, judgement.recheck_at)
}

fn any_ago() -> impl Strategy<Value = Moment> {
    prop_oneof![0..60u64, 0..7000u64].prop_map(ago)
}

prop_compose! {
    fn any_pod()(
        phase in prop_oneof![Just(PodPhase::Pending), Just(PodPhase::Running)],
        beat in prop_oneof![
            Just(LastBeat::None),
            any_ago().prop_map(|last| LastBeat::Running { last }),
            any_ago().prop_map(|last| LastBeat::Ending { last }),
        ],
        agent in prop_oneof![
            Just(AgentObservation::None),
            any_ago().prop_map(|last| AgentObservation::Blind { last }),
            any_ago().prop_map(|last| AgentObservation::Alive { last }),
            (any_ago(), 1..4u32).prop_map(|(since, reports)| AgentObservation::Gone { since, reports }),
        ],
        state in prop_oneof![
            Just(NodeState::Ready),
            Just(NodeState::NotReady),
            any_ago().prop_map(|since| NodeState::Deleted { since }),
            any_ago().prop_map(|since| NodeState::OutOfService { since }),
        ],
        (lease_steady_since, lease_changed) in (any_ago(), any_ago()),
        bound in any_ago(),
        starting in proptest::option::of(any_ago()),
        terminating in proptest::option::of(any_ago()),
        sidecar in prop_oneof![Just(Sidecar::Absent), Just(Sidecar::LeftOut), Just(Sidecar::NotStarted), any_ago().prop_map(Sidecar::Started)],
    ) -> PodEvidence {
        with(|pod| {
            pod.phase = phase;
            pod.beat = beat;
            pod.agent = agent;
            pod.bound_since = Some(bound);
            pod.starting_since = starting;
            pod.terminating = terminating.map(|since| Terminating { since, grace: Duration::from_secs(30) });
            pod.sidecar = sidecar;
            node(pod).state = state;
            (node(pod).lease_steady_since, node(pod).lease_changed) = (lease_steady_since, lease_changed);
        })
    }
}

proptest! {
    /// The first law: a worker that any signal shows alive is never lost. P3 is excluded because it is about a worker that has not
    /// started, and P4 because it is about a worker whose sidecar outlives it.
    #[test]
    fn a_started_worker_with_a_sign_of_life_is_never_lost(mut pod in any_pod(), by_beat: bool, last in 0..30u64) {
        pod.starting_since = None;
        prop_assume!(last < 25 || node(&mut pod).state.gone_since().is_none());
        if by_beat {
            pod.beat = LastBeat::Running { last: ago(last) };
            prop_assume!(!matches!(pod.agent, AgentObservation::Gone { .. }));
        } else {
            pod.agent = AgentObservation::Alive { last: ago(last) };
        }
        prop_assert_eq!(verdict_of(pod).lost(), None);
    }

    /// No pod waits indefinitely on a dead node, whatever its signals were before.
    #[test]
    fn every_bound_pod_on_a_silent_node_is_lost_in_the_end(mut pod in any_pod()) {
        let later = Moment::at(Duration::from_hours(4));
        node(&mut pod).state = NodeState::NotReady;
        let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
        let verdict = judge(&evidence, &Policy::default(), later).pods[0].verdict;
        prop_assert!(verdict.lost().is_some(), "{verdict:?}");
    }

    /// Before `recheck_at` no verdict changes.
    #[test]
    fn verdicts_hold_until_the_recheck(pod in any_pod(), wait_ms in 0..20_000_000u64) {
        let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
        let first = judge(&evidence, &Policy::default(), NOW);
        let later = NOW + Duration::from_millis(wait_ms);
        prop_assume!(first.recheck_at.is_none_or(|next| later < next));
        prop_assert_eq!(verdicts(&judge(&evidence, &Policy::default(), later)), verdicts(&first));
    }

    /// The preview predicts every loss, so that the breaker counts it. Excluded are losses that the breaker does not hold: that with a
    /// deleted node, and those of row P3, which asks for a fresh Lease.
    #[test]
    fn the_preview_predicts_every_loss(pod in any_pod(), choices: bool, progress in any_ago()) {
        let mut policy = Policy::default();
        let mut pod = pod;
        if choices {
            policy.unseen = Unseen::Lost;
            policy.stall_after = Some(Duration::from_mins(5));
            pod.cpu_progress = Some(progress);
        }
        let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
        let verdict = judge(&evidence, &policy, NOW).pods[0].verdict;
        let never_held =
            [LostReason::NodeGone, LostReason::ImagePullFailed, LostReason::CreateFailed, LostReason::StartTimeout];
        prop_assume!(verdict.lost().is_some_and(|reason| !never_held.contains(&reason)));
        let predicted = preview(&evidence, &policy, NOW).pods[0].verdict;
        prop_assert!(predicted.lost().is_some_and(|reason| reason != LostReason::NodeGone), "{verdict:?} but {predicted:?}");
    }

    /// The preview predicts no loss of a worker with a sign of life within half of lost-after, on any node and under any policy. The
    /// loss with a deleted node is excluded: the breaker does not count it.
    #[test]
    fn a_worker_with_a_sign_of_life_is_not_predicted_lost(mut pod in any_pod(), by_beat: bool, lost_after in 20..600u64, share in 0.0..0.99f64) {
        let lost_after = Duration::from_secs(lost_after);
        let policy = Policy { lost_after, suspect_after: lost_after.min(Duration::from_secs(30)), ..Policy::default() };
        let age = policy.quiet().min(AGENT_SILENT_AFTER).mul_f64(share);
        let last = Moment::at(NOW.since(Moment::default()).saturating_sub(age));
        pod.starting_since = None;
        if by_beat {
            pod.beat = LastBeat::Running { last };
            prop_assume!(!matches!(pod.agent, AgentObservation::Gone { .. }));
        } else {
            pod.agent = AgentObservation::Alive { last };
        }
        let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
        let predicted = preview(&evidence, &policy, NOW).pods[0].verdict;
        prop_assert!(predicted.lost().is_none_or(|reason| reason == LostReason::NodeGone), "{predicted:?}");
    }

    /// Before the `recheck_at` of a preview none of its verdicts changes.
    #[test]
    fn predicted_verdicts_hold_until_the_recheck(pod in any_pod(), wait_ms in 0..20_000_000u64) {
        let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
        let first = preview(&evidence, &Policy::default(), NOW);
        let later = NOW + Duration::from_millis(wait_ms);
        prop_assume!(first.recheck_at.is_none_or(|next| later < next));
        prop_assert_eq!(verdicts(&preview(&evidence, &Policy::default(), later)), verdicts(&first));
    }
}
