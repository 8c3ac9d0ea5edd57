//! Sidecars beat and agents report.

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

/// Why a beat is not taken, though its token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeatRejected {
    /// The pod is none that is watched, or is gone.
    #[error("this pod is no worker pod of this cluster, or is gone")]
    UnknownPod,
    /// The token was made for another node than the pod's.
    #[error("the token was issued for another node than the pod's")]
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
    /// A sidecar of `uid` beats, by a token for `node`. The answer is what it shall do.
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
        // The binding itself may not have been heard of yet.
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
        let (job, name) = (pod.facts.job.clone(), pod.facts.name.clone());
        let (news, silence) = match (before, after) {
            (LastBeat::None, _) => (Some("first beat"), None),
            (LastBeat::Running { last } | LastBeat::Ending { last }, _) => {
                let news = match (before, after) {
                    (LastBeat::Running { .. }, LastBeat::Ending { .. }) => Some("the sidecar is asked to end"),
                    (LastBeat::Ending { .. }, LastBeat::Running { .. }) => {
                        Some("beats again after it was asked to end")
                    }
                    _ => None,
                };
                (news, Some(now.since(last)))
            }
        };
        if let Some(news) = news {
            self.note(job.as_ref(), now, format!("pod {name}: {news}"));
        }
        if let Some(job) = &job
            && (news.is_some() || silence.is_some_and(|silence| silence >= self.quiet(Some(job))))
        {
            self.mark(job);
        }
        Ok(command)
    }

    /// The agent of `node` reports. The answer is the pods it shall go on to report: those bound to its node, without
    /// those that have ended and of which this was the last word.
    ///
    /// A report with a pod of another node is refused whole, for its sender is not what it says. A pod that is not known,
    /// or not known to be bound, is passed over: the watch may be behind the agent.
    pub fn report(&mut self, node: &NodeName, report: &Report, now: Moment) -> Result<Vec<PodUid>, ForeignPod> {
        for entry in &report.pods {
            let bound = self.pods.get(&entry.pod_uid).and_then(|pod| pod.facts.node.as_ref());
            if bound.is_some_and(|bound| bound != node) {
                return Err(ForeignPod { pod: entry.pod_uid.clone(), node: node.clone() });
            }
        }
        let seen: HashMap<_, _> = report.pods.iter().map(|entry| (&entry.pod_uid, entry)).collect();
        let bound: Vec<_> = self.nodes.get(node).map(|node| node.pods.iter().cloned().collect()).unwrap_or_default();
        let mut wanted = Vec::with_capacity(bound.len());
        for uid in bound {
            if self.observed(&uid, report.blind.is_none(), seen.get(&uid).copied(), now) {
                wanted.push(uid);
            }
        }
        Ok(wanted)
    }

    /// Takes in what an agent that sees (or not) saw of a pod, and says whether more is wanted of it.
    fn observed(&mut self, uid: &PodUid, sees: bool, seen: Option<&PodObservation>, now: Moment) -> bool {
        let Some(pod) = self.pods.get_mut(uid) else { return false };
        if let Some(seen) = seen {
            pod.usage.observe(&pod.facts, seen);
        }
        if !pod.is_live() {
            pod.acknowledged |= sees;
            return !pod.acknowledged;
        }
        let works_again = seen.is_some_and(|seen| pod.note_cpu(seen, now));
        let after = agent_observation::word(pod.agent, &pod.facts, seen.filter(|_| sees), now);
        let before = mem::replace(&mut pod.agent, after);
        if let AgentObservation::Alive { last } = after {
            pod.seen_alive = Some(last);
        }
        let (job, name) = (pod.facts.job.clone(), pod.facts.name.clone());
        let silence = match before {
            AgentObservation::Alive { last } | AgentObservation::Blind { last } => now.since(last),
            AgentObservation::None | AgentObservation::Gone { .. } => Duration::ZERO,
        };
        let news = match (before, after) {
            (
                AgentObservation::None | AgentObservation::Blind { .. } | AgentObservation::Gone { .. },
                AgentObservation::Alive { .. },
            ) => Some("the agent sees its processes"),
            (
                AgentObservation::Alive { .. } | AgentObservation::Blind { .. } | AgentObservation::None,
                AgentObservation::Gone { .. },
            ) => Some("the agent sees that its processes are gone"),
            (AgentObservation::Alive { .. } | AgentObservation::Gone { .. }, AgentObservation::Blind { .. }) => {
                Some("the agent cannot see it any more")
            }
            _ => None,
        };
        if let Some(news) = news {
            self.note(job.as_ref(), now, format!("pod {name}: {news}"));
        }
        if let Some(job) = &job
            && (differs(before, after) || works_again || silence >= self.quiet(Some(job)))
        {
            self.mark(job);
        }
        true
    }
}

impl PodRecord {
    /// Remembers when the CPU time of the main containers last grew. A run anew begins at less, which is progress, too.
    /// Whether it grows after a pause that may have changed a verdict.
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
