//! Laws that hold whatever is known of a pod.

use proptest::prelude::*;

use super::*;

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
        lease_changed in any_ago(),
        bound in any_ago(),
        starting in proptest::option::of(any_ago()),
        terminating in proptest::option::of(any_ago()),
        sidecar in prop_oneof![Just(Sidecar::Absent), Just(Sidecar::NotStarted), any_ago().prop_map(Sidecar::Started)],
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
            node(pod).lease_changed = lease_changed;
        })
    }
}

proptest! {
    /// The first law: whoever can be seen to be alive is never touched. P3 is apart, for it is about a worker that has
    /// not started, and P4 about one whose sidecar outlives it.
    #[test]
    fn a_heard_worker_that_has_started_is_never_lost(mut pod in any_pod(), by_beat: bool, last in 0..30u64) {
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

    /// No pod waits for ever on a dead node, whatever was known of it before.
    #[test]
    fn every_bound_pod_on_a_silent_node_is_lost_in_the_end(mut pod in any_pod()) {
        let later = Moment::at(Duration::from_hours(4));
        node(&mut pod).state = NodeState::NotReady;
        let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
        let verdict = judge(&evidence, &Policy::default(), later).pods[0].1;
        prop_assert!(verdict.lost().is_some(), "{verdict:?}");
    }

    /// The timer's law: before `recheck_at` the verdict stays as it is.
    #[test]
    fn a_verdict_holds_until_the_next_look(pod in any_pod(), wait_ms in 0..20_000_000u64) {
        let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
        let first = judge(&evidence, &Policy::default(), NOW);
        let later = NOW + Duration::from_millis(wait_ms);
        prop_assume!(first.recheck_at.is_none_or(|next| later < next));
        prop_assert_eq!(judge(&evidence, &Policy::default(), later), first);
    }

    /// The breaker's law: whatever is lost was in sight, so that it was counted. A deleted node is apart: it passes.
    #[test]
    fn what_is_lost_is_in_sight(pod in any_pod(), choices: bool, progress in any_ago()) {
        let mut policy = Policy::default();
        let mut pod = pod;
        if choices {
            policy.unseen = Unseen::Lost;
            policy.stall_after = Some(Duration::from_mins(5));
            pod.cpu_progress = Some(progress);
        }
        let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
        let verdict = judge(&evidence, &policy, NOW).pods[0].1;
        prop_assume!(verdict.lost().is_some_and(|reason| reason != LostReason::NodeGone));
        let seen = preview(&evidence, &policy, NOW).pods[0].1;
        prop_assert!(seen.lost().is_some_and(|reason| reason != LostReason::NodeGone), "{verdict:?} but {seen:?}");
    }

    /// The breaker is told of nobody whom it need not fear for: a worker that was heard of within half of lost-after, on
    /// whatever node, with whatever policy. A deleted node is apart: the breaker does not count it.
    #[test]
    fn who_is_heard_is_not_in_sight(mut pod in any_pod(), by_beat: bool, lost_after in 20..600u64, share in 0.0..0.99f64) {
        let lost_after = Duration::from_secs(lost_after);
        let policy = Policy { lost_after, suspect_after: lost_after.min(Duration::from_secs(30)), ..Policy::default() };
        let heard = policy.quiet().min(AGENT_SILENT_AFTER).mul_f64(share);
        let last = Moment::at(NOW.since(Moment::default()).saturating_sub(heard));
        pod.starting_since = None;
        if by_beat {
            pod.beat = LastBeat::Running { last };
            prop_assume!(!matches!(pod.agent, AgentObservation::Gone { .. }));
        } else {
            pod.agent = AgentObservation::Alive { last };
        }
        let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
        let seen = preview(&evidence, &policy, NOW).pods[0].1;
        prop_assert!(seen.lost().is_none_or(|reason| reason == LostReason::NodeGone), "{seen:?}");
    }

    /// The same timer's law for what is in sight.
    #[test]
    fn what_is_in_sight_holds_until_the_next_look(pod in any_pod(), wait_ms in 0..20_000_000u64) {
        let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
        let first = preview(&evidence, &Policy::default(), NOW);
        let later = NOW + Duration::from_millis(wait_ms);
        prop_assume!(first.recheck_at.is_none_or(|next| later < next));
        prop_assert_eq!(preview(&evidence, &Policy::default(), later), first);
    }
}
