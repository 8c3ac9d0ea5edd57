//! From the reports of an agent to what is observed of one pod.

use jobwarden_common::observation::{ContainerObservation, PodObservation};

use crate::{
    evidence::{AgentObservation, ContainerState},
    facts::pod::{ContainerHash, MainFacts, PodFacts},
    moment::Moment,
};

/// What is observed of the pod after a report that has `seen` for it (`None` if the report has no entry of the pod) is received at
/// `now`, where it was `before`.
///
/// The processes of a pod are gone only without any doubt: every main container has run, has ended as the kubelet reports or is seen
/// by the agent without processes, and none waits to be restarted. The agent also sees the sandbox, which no status names; more than
/// one unknown container with processes may be a main container that the kubelet has not reported yet.
pub(super) fn after_report(
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

/// How many containers have processes and are not known from the kubelet.
fn unknown_alive(pod: &PodFacts, seen: &PodObservation) -> usize {
    let of_mains = pod.mains.iter().flat_map(|main| [&main.id, &main.earlier_id]).flatten();
    let known: Vec<_> = of_mains.map(|id| ContainerHash::of(id)).chain(pod.others_running.iter().copied()).collect();
    let alive = seen.containers.iter().filter(|container| container.processes > 0);
    alive.filter(|container| !known.contains(&ContainerHash::of(&container.container_id))).count()
}

/// Whether two observations differ in kind, or in what the decision table asks of `Gone`.
pub(super) fn differs(before: AgentObservation, after: AgentObservation) -> bool {
    match (before, after) {
        // The table asks for two reports in a row; further ones change nothing.
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

    fn observed(mains: &[(ContainerState, Option<&str>)], seen: &[(&str, u32)]) -> AgentObservation {
        let mains = mains.iter().map(|(state, id)| mk_main("main", *state, *id)).collect();
        let pod = PodFacts { mains, others_running: [ContainerHash::of("side")].into(), ..mk_pod("pod", "job") };
        let containers = seen.iter().map(|(id, processes)| mk_container(id, *processes)).collect();
        let seen = PodObservation { pod_uid: "pod".into(), containers };
        after_report(AgentObservation::None, &pod, Some(&seen), NOW)
    }

    use ContainerState::{NotStarted, Running, Terminated, WaitingToRestart};

    #[rstest]
    #[case::processes(&[(Running, Some("a"))], &[("a", 3)], ALIVE)]
    #[case::processes_of_a_container_that_the_kubelet_reports_as_ended(&[(Terminated, Some("a"))], &[("a", 1)], ALIVE)]
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
    #[case::restarted_and_not_reported_yet(&[(Running, Some("a"))], &[("a", 0), ("pause", 1), ("a2", 2)], BLIND)]
    fn all_main_containers_count(
        #[case] mains: &[(ContainerState, Option<&str>)],
        #[case] seen: &[(&str, u32)],
        #[case] expected: AgentObservation,
    ) {
        assert_eq!(observed(mains, seen), expected);
    }

    #[test]
    fn a_pod_that_is_missing_from_the_report_is_not_seen() {
        let before = AgentObservation::Alive { last: EARLIER };
        assert_eq!(after_report(before, &mk_pod("pod", "job"), None, NOW), BLIND);
    }

    #[test]
    fn consecutive_reports_of_gone_are_counted() {
        let pod = mk_pod("pod", "job");
        let seen = PodObservation { pod_uid: "pod".into(), containers: vec![mk_container("pod-main", 0)] };
        let before = AgentObservation::Gone { since: EARLIER, reports: 1 };
        assert_eq!(after_report(before, &pod, Some(&seen), NOW), AgentObservation::Gone { since: EARLIER, reports: 2 });
        let alive_between = AgentObservation::Alive { last: EARLIER };
        assert_eq!(after_report(alive_between, &pod, Some(&seen), NOW), GONE);
    }
}
