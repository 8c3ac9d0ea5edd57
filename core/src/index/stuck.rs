//! What may keep a pod from ending although it is not lost: the facts of it, and what a reboot of a node says of its pods.

use jobwarden_common::identity::NodeName;

use super::Index;
use crate::{
    evidence::{ContainerState, ExitedContainer, Initializing},
    facts::pod::{MainFacts, PodFacts},
    index::records::{PodRecord, RareMoments},
    moment::Moment,
};

impl Index {
    /// The machine of a node has booted since the node was last seen. No process on it has survived that. The kubelet reports so, or
    /// starts containers again: until it has, the status of a pod tells of containers that are gone.
    pub(super) fn node_rebooted(&mut self, name: &NodeName, now: Moment) {
        let pods: Vec<_> = self.nodes.get(name).map(|node| node.pods.iter().cloned().collect()).unwrap_or_default();
        for uid in pods {
            let Some(pod) = self.pods.get_mut(&uid).filter(|pod| pod.is_live()) else { continue };
            if pod.facts.mains.iter().any(|main| main.state == ContainerState::Running) {
                pod.set_rare(RareMoments { rebooted: Some(now), ..pod.rare() });
            }
            let (job, name) = (pod.facts.job.clone(), format!("node {name}: booted"));
            self.note(job.as_ref(), now, name);
            if let Some(job) = &job {
                self.mark(job);
            }
        }
    }
}

impl PodRecord {
    pub(super) fn initializing(&self) -> Option<Initializing> {
        let (container, since) = self.facts.initializing.clone().zip(self.rare().initializing_since)?;
        Some(Initializing { container, since })
    }

    pub(super) fn exited(&self) -> Option<ExitedContainer> {
        let ((main, exit_code), since) = exited(&self.facts).zip(self.rare().exited_since)?;
        Some(ExitedContainer { container: main.name.clone(), exit_code, since })
    }
}

/// A main container that has ended for good while another one has not: one that has failed, if there is one; and its exit code.
pub(super) fn exited(facts: &PodFacts) -> Option<(&MainFacts, i32)> {
    if facts.mains.iter().all(|main| main.exit_code.is_some()) {
        return None;
    }
    let ended = || facts.mains.iter().filter_map(|main| Some((main, main.exit_code?)));
    ended().find(|(_, code)| *code != 0).or_else(|| ended().next())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jobwarden_common::beat::Phase;
    use rstest::rstest;

    use super::*;
    use crate::{
        builders::facts::{mk_job, mk_main, mk_node, mk_pod, mk_report},
        facts::node::{Health, NodeFacts},
    };

    fn moment(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn main(name: &str, exit_code: Option<i32>) -> MainFacts {
        let state = if exit_code.is_some() { ContainerState::Terminated } else { ContainerState::Running };
        MainFacts { exit_code, ..mk_main(name, state, Some(name)) }
    }

    #[rstest]
    #[case::all_run(&[None, None], None)]
    #[case::all_have_ended(&[Some(0), Some(3)], None)]
    #[case::one_is_done(&[Some(0), None], Some(("0", 0)))]
    #[case::one_has_failed(&[Some(0), Some(3), None], Some(("1", 3)))]
    #[case::no_container(&[], None)]
    fn a_container_has_exited_while_another_keeps_the_pod_running(
        #[case] mains: &[Option<i32>],
        #[case] expected: Option<(&str, i32)>,
    ) {
        let mains = mains.iter().enumerate().map(|(number, code)| main(&number.to_string(), *code)).collect();
        let facts = PodFacts { mains, ..mk_pod("w", "job") };
        assert_eq!(exited(&facts).map(|(main, code)| (&*main.name, code)), expected);
    }

    #[test]
    fn an_init_container_runs_since_it_was_first_seen_running() {
        let mut state = Index::default();
        let initializing = |name: &str| PodFacts { initializing: Some(name.into()), ..mk_pod("w", "job") };
        state.apply_job(mk_job("job"), moment(0));
        for (at, name, since) in [(1, "a", 1), (2, "a", 1), (3, "b", 3)] {
            state.apply_pod(PodFacts { name: format!("at-{at}"), ..initializing(name) }, moment(at));
            let (evidence, _) = state.evidence(&"job".into()).expect("known");
            assert_eq!(
                evidence.pods[0].initializing,
                Some(Initializing { container: name.into(), since: moment(since) })
            );
        }
    }

    /// A pod that runs on a node which boots at 10.
    fn rebooted() -> Index {
        let booted = |id: &str| NodeFacts { boot_id: Some(id.into()), ..mk_node("node-1", Health::Ready) };
        let mut state = Index::default();
        state.start_listening(moment(0));
        state.apply_node(&booted("a"), moment(0));
        state.apply_job(mk_job("job"), moment(0));
        state.apply_pod(mk_pod("w", "job"), moment(0));
        state.apply_node(&booted("a"), moment(5));
        state.apply_node(&booted("b"), moment(10));
        state
    }

    fn since(state: &Index) -> Option<Moment> {
        state.evidence(&"job".into()).expect("known").0.pods[0].rebooted
    }

    #[test]
    fn a_pod_has_the_containers_of_before_until_a_signal_or_its_kubelet_tells_otherwise() {
        assert_eq!(since(&rebooted()), Some(moment(10)));
        let mut state = rebooted();
        state.beat(&"w".into(), None, Phase::Running, moment(12)).expect("known");
        assert_eq!(since(&state), None, "its sidecar runs again");
        let mut state = rebooted();
        state.report(&"node-1".into(), &mk_report(&[("w", 1)]), moment(12)).expect("its agent");
        assert_eq!(since(&state), None, "the agent sees it");
        let mut state = rebooted();
        let mains = vec![main("main", Some(255))];
        state.apply_pod(PodFacts { mains, ..mk_pod("w", "job") }, moment(12));
        assert_eq!(since(&state), None, "the kubelet reports its end");
    }
}
