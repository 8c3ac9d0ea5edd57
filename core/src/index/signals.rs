//! Beats of sidecars and reports of agents.

use std::{collections::HashMap, mem, time::Duration};

use jobwarden_common::{
    beat::{Command, Phase},
    identity::{NodeName, PodUid},
    observation::{PodObservation, Report},
};

use super::{Index, QUIET};
use crate::{
    evidence::{AgentObservation, LastBeat},
    index::{
        agent_observation::{self, differs},
        records::{CpuProgress, PodRecord},
    },
    moment::Moment,
};

/// Why a beat is rejected although its token is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeatRejected {
    /// The pod is not watched, or is gone.
    #[error("this pod is not a worker pod of this cluster, or is gone")]
    UnknownPod,
    /// The token was issued on another node.
    #[error("the token was issued for a pod on another node")]
    WrongNode,
}

/// An agent reports a pod that is bound to another node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pod {pod} is not bound to the node {node} that the token names")]
pub struct ForeignPod {
    /// The pod.
    pub pod: PodUid,
    /// The agent's node.
    pub node: NodeName,
}

impl Index {
    /// The sidecar of pod `uid` beats with a token that names `node`. Returns what the sidecar has to do.
    pub fn beat(
        &mut self,
        uid: &PodUid,
        node: Option<&NodeName>,
        phase: Phase,
        now: Moment,
    ) -> Result<Command, BeatRejected> {
        let command = if self.abandoned.contains(uid) { Command::Stop } else { Command::Continue };
        let Some(pod) = self.pods.get_mut(uid) else {
            return if command == Command::Stop { Ok(command) } else { Err(BeatRejected::UnknownPod) };
        };
        // The watch may not have delivered the binding yet.
        if let (Some(named), Some(bound)) = (node, &pod.facts.node)
            && named != bound
        {
            return Err(BeatRejected::WrongNode);
        }
        let after = match phase {
            Phase::Running => LastBeat::Running { last: now },
            Phase::Ending => LastBeat::Ending { last: now },
        };
        let before = mem::replace(&mut pod.beat, after);
        pod.forget_reboot();
        if let Some(node) = pod.facts.node.as_ref().and_then(|node| self.nodes.get_mut(node)) {
            node.heard = Some(now);
        }
        let (job, name) = (pod.facts.job.clone(), pod.facts.name.clone());
        let (event, pause) = match (before, after) {
            (LastBeat::None, _) => (Some("first beat"), None),
            (LastBeat::Running { last } | LastBeat::Ending { last }, _) => {
                let event = match (before, after) {
                    (LastBeat::Running { .. }, LastBeat::Ending { .. }) => Some("the sidecar received SIGTERM"),
                    (LastBeat::Ending { .. }, LastBeat::Running { .. }) => {
                        Some("the sidecar beats again after SIGTERM")
                    }
                    _ => None,
                };
                (event, Some(now.since(last)))
            }
        };
        if let Some(event) = event {
            self.note(job.as_ref(), now, format!("pod {name}: {event}"));
        }
        if let Some(job) = &job
            && (event.is_some() || pause.is_some_and(|pause| pause >= self.quiet(Some(job))))
        {
            self.mark(job);
        }
        Ok(command)
    }

    /// The agent of `node` reports. Returns the pods that it has to go on reporting: those bound to its node, except those that have
    /// ended and that this report covered.
    ///
    /// A report with a pod of another node is rejected as a whole: its sender is not the agent of `node`. A pod that is not known, or
    /// not known to be bound, is skipped: the watch may be behind the agent.
    pub fn report(&mut self, node: &NodeName, report: &Report, now: Moment) -> Result<Vec<PodUid>, ForeignPod> {
        for entry in &report.pods {
            let bound = self.pods.get(&entry.pod_uid).and_then(|pod| pod.facts.node.as_ref());
            if bound.is_some_and(|bound| bound != node) {
                return Err(ForeignPod { pod: entry.pod_uid.clone(), node: node.clone() });
            }
        }
        let seen: HashMap<_, _> = report.pods.iter().map(|entry| (&entry.pod_uid, entry)).collect();
        let known = self.nodes.get_mut(node);
        let bound: Vec<_> = known.map_or_else(Vec::new, |node| {
            node.heard = Some(now);
            node.pods.iter().cloned().collect()
        });
        let mut wanted = Vec::with_capacity(bound.len());
        for uid in bound {
            if self.record_observation(&uid, report.blind.is_none(), seen.get(&uid).copied(), now) {
                wanted.push(uid);
            }
        }
        // An agent forgets an ended worker that is not requested, so nothing is dropped before it is known which pods there are.
        if !self.pods_listed {
            let unknown = report.pods.iter().map(|entry| &entry.pod_uid).filter(|uid| !self.knows_pod(uid));
            wanted.extend(unknown.cloned());
        }
        Ok(wanted)
    }

    /// Records what an agent saw of a pod; `sees` is false for an agent that sees nothing on its node. Returns whether the pod has to
    /// be reported again.
    fn record_observation(&mut self, uid: &PodUid, sees: bool, seen: Option<&PodObservation>, now: Moment) -> bool {
        let Some(pod) = self.pods.get_mut(uid) else { return false };
        if let Some(seen) = seen {
            pod.usage.observe(&pod.facts, seen);
        }
        if !pod.is_live() {
            pod.acknowledged |= sees;
            return !pod.acknowledged;
        }
        let cpu_grows_again = seen.is_some_and(|seen| pod.note_cpu(seen, now));
        let after = agent_observation::after_report(pod.agent, &pod.facts, seen.filter(|_| sees), now);
        let before = mem::replace(&mut pod.agent, after);
        if let AgentObservation::Alive { last } = after {
            pod.seen_alive = Some(last);
            pod.forget_reboot();
        }
        let (job, name) = (pod.facts.job.clone(), pod.facts.name.clone());
        let pause = match before {
            AgentObservation::Alive { last } | AgentObservation::Blind { last } => now.since(last),
            AgentObservation::None | AgentObservation::Gone { .. } => Duration::ZERO,
        };
        let event = match (before, after) {
            (
                AgentObservation::None | AgentObservation::Blind { .. } | AgentObservation::Gone { .. },
                AgentObservation::Alive { .. },
            ) => Some("the agent sees its processes"),
            (
                AgentObservation::Alive { .. } | AgentObservation::Blind { .. } | AgentObservation::None,
                AgentObservation::Gone { .. },
            ) => Some("the agent sees that its processes are gone"),
            (AgentObservation::Alive { .. } | AgentObservation::Gone { .. }, AgentObservation::Blind { .. }) => {
                Some("the agent no longer sees it")
            }
            _ => None,
        };
        if let Some(event) = event {
            self.note(job.as_ref(), now, format!("pod {name}: {event}"));
        }
        if let Some(job) = &job
            && (differs(before, after) || cpu_grows_again || pause >= self.quiet(Some(job)))
        {
            self.mark(job);
        }
        true
    }
}

impl PodRecord {
    /// Records when the CPU time of the main containers last grew. A restarted container begins at less, which is progress as well.
    /// Returns whether the CPU time grows after a pause that may have changed a verdict.
    fn note_cpu(&mut self, seen: &PodObservation, now: Moment) -> bool {
        let ids: Vec<_> = self.facts.mains.iter().filter_map(|main| main.id.as_deref()).collect();
        let mains = seen.containers.iter().filter(|container| ids.contains(&container.container_id.as_str()));
        let Some(cpu_ms) = mains.map(|container| container.cpu_ms).reduce(u64::saturating_add) else { return false };
        if self.cpu.is_some_and(|known| known.cpu_ms == cpu_ms) {
            return false;
        }
        let last = self.cpu.replace(CpuProgress { cpu_ms, at: now });
        last.is_some_and(|last| now.since(last.at) >= QUIET)
    }
}
