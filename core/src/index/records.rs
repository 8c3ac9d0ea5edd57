//! What is remembered of one Job, pod and node: the latest facts, and when each was first seen.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use jobwarden_common::{
    identity::PodUid,
    notification::{Attempt, Cause, Usage},
};

use super::{
    job_pods::JobPods,
    timeline::Timeline,
    usage::{self, PodUsage},
};
use crate::{
    causes::of_attempt,
    evidence::{Active, AgentObservation, LastBeat, NodeState, StartProblem},
    facts::{
        job::JobFacts,
        pod::{PodFacts, StartPhase},
    },
    moment::Moment,
    snapshot::PastAttempt,
};

/// A Job that is known by its object, or by a pod of it.
#[derive(Clone, Debug, Default)]
pub(super) struct JobRecord {
    /// `None` while only pods of the Job are known.
    pub(super) facts: Option<JobFacts>,
    /// The object is no longer there.
    pub(super) gone: bool,
    pub(super) finished_since: Option<Moment>,
    pub(super) podless_since: Option<Moment>,
    /// Since when its namespace is not enrolled, or it has opted out.
    pub(super) unenrolled_since: Option<Moment>,
    pub(super) active: Option<Active>,
    pub(super) pods: JobPods,
    /// The largest figures of pods that are gone. Boxed: most Jobs have none.
    pub(super) past_usage: Option<Box<Usage>>,
    /// The last of its pods that is gone.
    pub(super) past: Option<Box<PastAttempt>>,
    pub(super) timeline: Timeline,
}

impl JobRecord {
    /// Whether it is the record of a bare pod.
    pub(super) fn is_bare(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.identity.is_bare())
    }

    pub(super) fn add_past_usage(&mut self, usage: Usage) {
        self.past_usage = Some(Box::new(match self.past_usage.take() {
            Some(past) => usage::max(&past, &usage),
            None => usage,
        }));
    }
}

/// A pod that is in the API.
#[derive(Clone, Debug)]
pub(super) struct PodRecord {
    pub(super) facts: PodFacts,
    /// Its place among the pods of its Job.
    pub(super) place: usize,
    pub(super) bound_since: Option<Moment>,
    pub(super) start: StartTimer,
    rare: Option<Box<RareMoments>>,
    /// What last prevented a container from starting: the kubelet does not repeat it once the pod ends for that reason.
    pub(super) start_problem: Option<Box<StartProblem>>,
    pub(super) sidecar_since: Option<Moment>,
    /// When a main container was first seen started.
    pub(super) ran_since: Option<Moment>,
    /// When it was first seen Succeeded or Failed.
    pub(super) ended_since: Option<Moment>,
    pub(super) beat: LastBeat,
    pub(super) agent: AgentObservation,
    /// When the agent last saw the worker alive.
    pub(super) seen_alive: Option<Moment>,
    pub(super) usage: PodUsage,
    /// Every main container was seen to have ended with exit code 0 before the pod was deleted.
    pub(super) work_done: bool,
    pub(super) cpu: Option<CpuProgress>,
    /// The agent has reported since the pod ended: no further report of the pod is expected.
    pub(super) acknowledged: bool,
}

impl PodRecord {
    pub(super) fn new(facts: PodFacts) -> Self {
        Self {
            facts,
            place: 0,
            bound_since: None,
            start: StartTimer::default(),
            rare: None,
            start_problem: None,
            sidecar_since: None,
            ran_since: None,
            ended_since: None,
            beat: LastBeat::None,
            agent: AgentObservation::None,
            seen_alive: None,
            usage: PodUsage::default(),
            work_done: false,
            cpu: None,
            acknowledged: false,
        }
    }

    /// Whether it is pending or running.
    pub(super) fn is_live(&self) -> bool {
        self.facts.is_live()
    }

    pub(super) fn rare(&self) -> RareMoments {
        self.rare.as_deref().copied().unwrap_or_default()
    }

    pub(super) fn set_rare(&mut self, rare: RareMoments) {
        if rare != self.rare() {
            self.rare = (rare != RareMoments::default()).then(|| Box::new(rare));
        }
    }

    /// The pod has been seen alive since its node booted.
    pub(super) fn forget_reboot(&mut self) {
        if self.rare.is_some() {
            self.set_rare(RareMoments { rebooted: None, ..self.rare() });
        }
    }

    /// Why it ended, as far as its status says.
    pub(super) fn cause(&self) -> Cause {
        of_attempt(&self.facts.cause(), self.start_problem.as_deref())
    }

    /// What is kept of it when its object is gone.
    pub(super) fn past(&self) -> PastAttempt {
        let PodFacts { uid, name, node, .. } = &self.facts;
        PastAttempt {
            attempt: Attempt { pod_uid: uid.clone(), pod_name: name.clone(), node: node.clone() },
            cause: self.cause(),
            work_done: self.work_done,
        }
    }

    /// What it used. Its run time is by the clock of the kubelet where the status has it, else until it was seen to end, or `until`.
    pub(super) fn usage(&self, until: Moment) -> Option<Usage> {
        let observed = || -> Option<Duration> { Some(self.ended_since.unwrap_or(until).since(self.ran_since?)) };
        self.usage.total(&self.facts, self.facts.ran_for.or_else(observed))
    }
}

/// Moments that few pods have at a time. They are kept together, so that the others need no memory for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RareMoments {
    pub(super) unscheduled_since: Option<Moment>,
    pub(super) terminating_since: Option<Moment>,
    /// Since when the init container that runs does so.
    pub(super) initializing_since: Option<Moment>,
    /// Since when a main container has ended while another one keeps the pod running.
    pub(super) exited_since: Option<Moment>,
    /// See [`PodEvidence::rebooted`](crate::evidence::PodEvidence::rebooted).
    pub(super) rebooted: Option<Moment>,
}

/// The time in which nothing was awaited but the start of containers. It stands still while a native sidecar warms up, and begins anew
/// after an init container has run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StartTimer {
    spent: Duration,
    running_since: Option<Moment>,
}

impl StartTimer {
    pub(super) fn update(&mut self, phase: StartPhase, now: Moment) {
        match phase {
            StartPhase::NotStarting | StartPhase::Initializing => *self = Self::default(),
            StartPhase::WarmingUp => {
                self.spent += self.running_since.take().map_or(Duration::ZERO, |since| now.since(since));
            }
            StartPhase::Starting => {
                self.running_since.get_or_insert(now);
            }
        }
    }

    /// Since when it would run if it had never stood still; `None` while it does not run.
    pub(super) fn since(self) -> Option<Moment> {
        self.running_since.map(|since| since.before(self.spent))
    }
}

/// The CPU time of a pod, and when it last grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CpuProgress {
    pub(super) cpu_ms: u64,
    pub(super) at: Moment,
}

/// A node that is known by its object, by its Lease, or by a pod bound to it.
#[derive(Clone, Debug)]
pub(super) struct NodeRecord {
    /// `None` before the nodes were listed.
    pub(super) state: Option<NodeState>,
    pub(super) zone: Option<Arc<str>>,
    /// When it last became ready.
    pub(super) ready_since: Option<Moment>,
    /// When it last became ready or ceased to be, as its condition says.
    pub(super) changed: Option<Timestamp>,
    pub(super) avoided: bool,
    pub(super) boot_id: Option<Box<str>>,
    /// When a change of its Lease was last received; at first, when the node was first seen.
    pub(super) lease_changed: Moment,
    /// Since when there has been no pause between its changes that may have made it stale.
    pub(super) lease_steady_since: Moment,
    /// What the Lease then said.
    pub(super) renewed: Option<Timestamp>,
    /// When a beat of one of its pods or a report of its agent was last received, whatever it said.
    pub(super) heard: Option<Moment>,
    /// The pods bound to it.
    pub(super) pods: BTreeSet<PodUid>,
}

impl NodeRecord {
    pub(super) fn new(state: Option<NodeState>, now: Moment) -> Self {
        Self {
            state,
            zone: None,
            ready_since: None,
            changed: None,
            avoided: false,
            boot_id: None,
            lease_changed: now,
            lease_steady_since: now,
            renewed: None,
            heard: None,
            pods: BTreeSet::new(),
        }
    }

    /// Whether nothing is lost when it is forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.pods.is_empty() && matches!(self.state, None | Some(NodeState::Deleted { .. }))
    }
}
