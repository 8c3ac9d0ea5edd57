//! What an agent's report says of one pod.

use jobwarden_common::observation::{ContainerObservation, PodObservation};

use crate::{
    evidence::{AgentObservation, ContainerState},
    facts::pod::{MainFacts, PodFacts},
    moment::Moment,
};

/// The agent's word after a report that says `seen` of the pod (nothing, if the report has no entry of it), received at
/// `now`, where it was `before`.
///
/// A pod is gone only if that leaves no doubt: every main container has run, has ended by the kubelet's word or is seen
/// by the agent without processes, and none waits to run again. The agent sees the sandbox too, which no status names;
/// more than one unknown container with processes may be a main container of which the kubelet could not tell us.
pub(super) fn word(
    before: AgentObservation,
    pod: &PodFacts,
    seen: Option<&PodObservation>,
    now: Moment,
) -> AgentObservation {
    let Some(seen) = seen else { return AgentObservation::Blind { last: now } };
    let latest = |main: &MainFacts| find(seen, main.id.as_deref()?);
    if pod.mains.iter().filter_map(latest).any(|container| container.processes > 0) {
        return AgentObservation::Alive { last: now };
    }
    let seen_gone = pod.mains.iter().filter(|main| latest(main).is_some()).count();
    let all_gone = pod.mains.iter().all(|main| match main.state {
        ContainerState::Terminated => true,
        ContainerState::Running => latest(main).is_some(),
        ContainerState::NotStarted | ContainerState::WaitingToRestart => false,
    });
    if seen_gone == 0 || !all_gone || unknown_alive(pod, seen) > 1 {
        return AgentObservation::Blind { last: now };
    }
    match before {
        AgentObservation::Gone { since, reports } => {
            AgentObservation::Gone { since, reports: reports.saturating_add(1) }
        }
        _ => AgentObservation::Gone { since: now, reports: 1 },
    }
}

fn find<'a>(seen: &'a PodObservation, id: &str) -> Option<&'a ContainerObservation> {
    seen.containers.iter().find(|container| container.container_id == id)
}

/// How many containers have processes that are none of those the kubelet has told of.
fn unknown_alive(pod: &PodFacts, seen: &PodObservation) -> usize {
    let of_mains = pod.mains.iter().flat_map(|main| [&main.id, &main.earlier_id]).flatten();
    let known: Vec<_> = of_mains.chain(&pod.others_running).map(AsRef::as_ref).collect();
    let alive = seen.containers.iter().filter(|container| container.processes > 0);
    alive.filter(|container| !known.contains(&container.container_id.as_str())).count()
}

/// Whether two words differ in kind, or in what the decision table asks of `gone`.
pub(super) fn differs(before: AgentObservation, after: AgentObservation) -> bool {
    match (before, after) {
        // The table asks for two reports in a row; more say nothing new.
        (AgentObservation::Gone { .. }, AgentObservation::Gone { reports, .. }) => {
            reports <= crate::judge::GONE_REPORTS
        }
        (before, after) => std::mem::discriminant(&before) != std::mem::discriminant(&after),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;
    use crate::builders::facts::{mk_container, mk_main, mk_pod};

    const NOW: Moment = Moment::at(Duration::from_secs(100));
    const EARLIER: Moment = Moment::at(Duration::from_secs(90));
    const BLIND: AgentObservation = AgentObservation::Blind { last: NOW };
    const ALIVE: AgentObservation = AgentObservation::Alive { last: NOW };
    const GONE: AgentObservation = AgentObservation::Gone { since: NOW, reports: 1 };

    fn say(mains: &[(ContainerState, Option<&str>)], seen: &[(&str, u32)]) -> AgentObservation {
        let mains = mains.iter().map(|(state, id)| mk_main("main", *state, *id)).collect();
        let pod = PodFacts { mains, others_running: ["side".into()].into(), ..mk_pod("pod", "job") };
        let containers = seen.iter().map(|(id, processes)| mk_container(id, *processes)).collect();
        let seen = PodObservation { pod_uid: "pod".into(), containers };
        word(AgentObservation::None, &pod, Some(&seen), NOW)
    }

    use ContainerState::{NotStarted, Running, Terminated, WaitingToRestart};

    #[rstest]
    #[case::processes(&[(Running, Some("a"))], &[("a", 3)], ALIVE)]
    #[case::processes_the_kubelet_has_not_told_the_end_of(&[(Terminated, Some("a"))], &[("a", 1)], ALIVE)]
    #[case::one_of_two(&[(Running, Some("a")), (Running, Some("b"))], &[("a", 0), ("b", 1)], ALIVE)]
    #[case::gone(&[(Running, Some("a"))], &[("a", 0)], GONE)]
    #[case::gone_beside_sandbox_and_sidecar(&[(Running, Some("a"))], &[("a", 0), ("side", 1), ("pause", 1)], GONE)]
    #[case::both_gone(&[(Running, Some("a")), (Running, Some("b"))], &[("a", 0), ("b", 0)], GONE)]
    #[case::one_gone_one_ended(&[(Running, Some("a")), (Terminated, Some("b"))], &[("a", 0)], GONE)]
    #[case::one_gone_one_never_seen(&[(Running, Some("a")), (Running, Some("b"))], &[("a", 0)], BLIND)]
    #[case::one_gone_one_to_start(&[(Running, Some("a")), (NotStarted, None)], &[("a", 0)], BLIND)]
    #[case::never_seen(&[(Running, Some("a"))], &[("pause", 1)], BLIND)]
    #[case::nothing_seen_of_an_ended_one(&[(Terminated, Some("a"))], &[], BLIND)]
    #[case::waits_to_restart(&[(WaitingToRestart, Some("a"))], &[("a", 0)], BLIND)]
    #[case::restarted_behind_our_back(&[(Running, Some("a"))], &[("a", 0), ("pause", 1), ("a2", 2)], BLIND)]
    fn the_word_is_what_all_mains_say(
        #[case] mains: &[(ContainerState, Option<&str>)],
        #[case] seen: &[(&str, u32)],
        #[case] expected: AgentObservation,
    ) {
        assert_eq!(say(mains, seen), expected);
    }

    #[test]
    fn a_pod_the_report_leaves_out_is_not_seen() {
        let before = AgentObservation::Alive { last: EARLIER };
        assert_eq!(word(before, &mk_pod("pod", "job"), None, NOW), BLIND);
    }

    #[test]
    fn reports_of_gone_are_counted_in_a_row() {
        let pod = mk_pod("pod", "job");
        let seen = PodObservation { pod_uid: "pod".into(), containers: vec![mk_container("pod-main", 0)] };
        let before = AgentObservation::Gone { since: EARLIER, reports: 1 };
        assert_eq!(word(before, &pod, Some(&seen), NOW), AgentObservation::Gone { since: EARLIER, reports: 2 });
        let alive_between = AgentObservation::Alive { last: EARLIER };
        assert_eq!(word(alive_between, &pod, Some(&seen), NOW), GONE);
    }
}
