//! The breaker: holds losses while too many failure domains fail at the same time.
//!
//! A node that dies takes any number of Jobs with it, and that is no reason to hesitate. Suspicious is that many *nodes* fall silent
//! together: that indicates a fault of the network, of a zone or of the reaper rather than many dead nodes. So the breaker counts
//!
//! - nodes that are silent: no renewal of the Lease, no beat of any pod, no report of the agent ([`SILENT_AFTER`]). That is before any
//!   loss on them can be acted upon, and no policy of a Job has a part in it;
//! - nodes where processes are gone and the kubelet says that they run, apart from these;
//! - Jobs on healthy nodes without a heartbeat, in each namespace alone: what beats depend on there is the namespace's own.
//!
//! The latter two by the preview of each Job ([`crate::judge::preview`]), so that what began together counts together; and because
//! Jobs are evaluated in turns, every Job that is due is previewed before anything is written for any of them.
//!
//! A hold ends. It ends when members return: not at once, because they do not return all at once, and those about to return would be
//! taken for dead. It ends when somebody releases it. And it ends for one node after another when it has lasted for
//! [`Breaker::set_hold_for`], as long as at least one node reports: then what is silent is silent for itself.
//!
//! A value without I/O and without a clock.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use jobwarden_common::identity::{JobUid, NodeName};

use self::{
    group::{Group, Leave, Limit},
    node::NodeSign,
    schedule::next_release,
    tally::NodeTally,
};
pub use self::{
    job_status::JobStatus,
    node::{SILENT_AFTER, WorkerNode},
    report::{BreakerReport, DomainReport, Unit},
};
use super::{Counted, Hold, Scope};
use crate::{evidence::PodEvidence, moment::Moment, verdict::LostReason};

mod group;
mod job_status;
mod node;
mod report;
mod schedule;
mod tally;

/// After how long what is held is released, unless the configuration says otherwise.
pub const HOLD_FOR: Duration = Duration::from_mins(15);
/// For how long a survey of the nodes is recent enough.
const SURVEY_EVERY: Duration = Duration::from_millis(500);
/// A namespace trips when at least three of its Jobs have lost their heartbeats together, and more than 30 % of its open Jobs.
const NAMESPACE: Limit = Limit { members: 3, of: 0, percent: 30, more_than: true };

/// Counts the failure domains that fail together, and holds losses while there are too many.
#[derive(Debug)]
pub struct Breaker {
    hold_for: Duration,
    silence: NodeTally,
    process_gone: NodeTally,
    /// On how many Jobs each node is counted in `process_gone`.
    gone_on: BTreeMap<NodeName, usize>,
    namespaces: HashMap<Arc<str>, Namespace>,
    jobs: HashMap<JobUid, Entry>,
    /// How many nodes that carry workers report.
    reporting: usize,
    surveyed: Option<Moment>,
}

/// The open Jobs of a namespace.
#[derive(Debug, Default)]
struct Namespace {
    jobs: Group<JobUid>,
    last_release: Option<Moment>,
}

/// An open Job. Its size matters: there is an entry for each.
#[derive(Debug)]
struct Entry {
    namespace: Arc<str>,
    losses: Option<Box<JobStatus>>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            hold_for: HOLD_FOR,
            silence: NodeTally::default(),
            process_gone: NodeTally::default(),
            gone_on: BTreeMap::new(),
            namespaces: HashMap::new(),
            jobs: HashMap::new(),
            reporting: 0,
            surveyed: None,
        }
    }
}

impl Breaker {
    /// Sets after how long what is held is released, one node a minute.
    pub fn set_hold_for(&mut self, hold_for: Duration) {
        self.hold_for = hold_for;
    }

    /// Whether the nodes have to be surveyed again before anything is decided at `now`.
    pub fn needs_survey(&self, now: Moment) -> bool {
        self.surveyed.is_none_or(|at| now >= at + SURVEY_EVERY)
    }

    /// Counts the nodes, all of which are in `nodes`, and releases what is due. Returns whether anything was released.
    pub fn survey<'a>(&mut self, nodes: impl Iterator<Item = WorkerNode<'a>>, now: Moment) -> bool {
        self.surveyed = Some(now);
        let (mut of, mut zones) = (0, BTreeMap::<_, usize>::new());
        let mut signs = HashMap::new();
        self.reporting = 0;
        for node in nodes {
            let sign = node.sign(now);
            if node.carries_workers && sign != NodeSign::Gone {
                of += 1;
                self.reporting += usize::from(sign == NodeSign::Heard);
                if let Some(zone) = node.zone {
                    match zones.get_mut(zone) {
                        Some(of) => *of += 1,
                        None => drop(zones.insert(Arc::clone(zone), 1)),
                    }
                }
            }
            if let NodeSign::Silent(since) = sign
                && node.carries_workers
            {
                self.silence.join(node.name, node.zone, since);
            }
            if self.silence.cluster().members().contains_key(node.name) {
                signs.insert(node.name.clone(), (sign, node.carries_workers));
            }
        }
        let members: Vec<_> = self.silence.cluster().members().keys().cloned().collect();
        for node in members {
            match signs.get(&node) {
                Some((NodeSign::Heard, _)) => self.silence.leave(&node, Leave::Returned, now),
                Some((NodeSign::Unknown, _) | (NodeSign::Silent(_), true)) => {}
                // A released node without workers was acted upon, and has not returned.
                Some((NodeSign::Silent(_), false)) => self.silence.leave(&node, Leave::Vanished, now),
                // An administrator or a controller has confirmed it.
                Some((NodeSign::Gone, _)) | None => self.silence.leave(&node, Leave::Gone, now),
            }
        }
        self.silence.set_of(of, &zones);
        self.process_gone.set_of(of, &zones);
        self.settle(now)
    }

    /// Records the status of a Job. Called for every open Job whenever its status may have changed.
    pub fn update(&mut self, job: &JobUid, namespace: &str, status: JobStatus, now: Moment) {
        let has_losses = status.heartbeat_lost || !status.process_gone.is_empty();
        // Most Jobs are well, and were.
        if status.open && !has_losses && self.jobs.get(job).is_some_and(|known| known.losses.is_none()) {
            return;
        }
        if let Some(before) = self.jobs.remove(job) {
            self.uncount(job, &before, &status, now);
        }
        if !status.open {
            return;
        }
        let namespace = match self.namespaces.get_key_value(namespace) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(namespace),
        };
        let group = &mut self.namespaces.entry(Arc::clone(&namespace)).or_default().jobs;
        group.of += 1;
        if status.heartbeat_lost {
            group.join(job, now);
        }
        for (node, zone) in &status.process_gone {
            *self.gone_on.entry(node.clone()).or_default() += 1;
            self.process_gone.join(node, zone.as_ref(), now);
        }
        self.jobs.insert(job.clone(), Entry { namespace, losses: has_losses.then(|| Box::new(status)) });
    }

    /// Whether the Job is counted as open.
    #[cfg(test)]
    pub(crate) fn counts(&self, job: &JobUid) -> bool {
        self.jobs.contains_key(job)
    }

    /// The hold on the loss of a pod at `now`.
    pub fn hold(
        &mut self,
        job: &JobUid,
        namespace: &str,
        pod: &PodEvidence,
        reason: LostReason,
        now: Moment,
    ) -> Option<Hold> {
        let node = pod.node.as_ref().map(|node| &node.name);
        let (counted, (scope, (affected, of))) = match reason {
            LostReason::NodeUnreachable | LostReason::OutcomeUnknown => {
                (Counted::SilentNodes, self.silence.hold(node?)?)
            }
            LostReason::ProcessGone => {
                self.process_gone.settle(now);
                (Counted::ProcessGoneNodes, self.process_gone.hold(node?)?)
            }
            LostReason::HeartbeatLost => {
                let group = &mut self.namespaces.get_mut(namespace)?.jobs;
                group.settle(NAMESPACE, now);
                let held = group.holds(job).then(|| (Scope::Namespace, group.counts()));
                (Counted::HeartbeatLostJobs, held?)
            }
            LostReason::NodeGone
            | LostReason::ImagePullFailed
            | LostReason::CreateFailed
            | LostReason::StartTimeout
            | LostReason::InitTimeout
            | LostReason::Stalled
            | LostReason::Unschedulable => return None,
        };
        Some(Hold::Breaker { counted, scope, affected, of })
    }

    /// Releases everything that is held. Returns how many nodes and Jobs were.
    pub fn release(&mut self, now: Moment) -> usize {
        let mut released = self.silence.release_all(now) + self.process_gone.release_all(now);
        for Namespace { jobs, .. } in self.namespaces.values_mut() {
            let held: Vec<_> = jobs.held().map(|(job, _)| job.clone()).collect();
            for job in &held {
                jobs.release(job);
            }
            jobs.settle(NAMESPACE, now);
            released += held.len();
        }
        released
    }

    /// Whether anything has tripped.
    pub fn is_tripped(&self) -> bool {
        let nodes = [&self.silence, &self.process_gone].into_iter().any(|tally| tally.tripped().next().is_some());
        nodes || self.namespaces.values().any(|namespace| namespace.jobs.trip().is_some())
    }

    /// Forgets everything but the configuration, because another reaper leads.
    pub fn clear(&mut self) {
        *self = Self { hold_for: self.hold_for, ..Self::default() };
    }

    /// Trips and releases by what is true at `now`. Returns whether anything was released.
    fn settle(&mut self, now: Moment) -> bool {
        let mut released = self.silence.settle(now);
        released |= self.process_gone.settle(now);
        let may_release = self.reporting > 0;
        for tally in [&mut self.silence, &mut self.process_gone] {
            if may_release && tally.release_due(self.hold_for, now) {
                tally.settle(now);
                released = true;
            }
        }
        for Namespace { jobs, last_release } in self.namespaces.values_mut() {
            released |= jobs.settle(NAMESPACE, now);
            let next = next_release(jobs.held(), *last_release, self.hold_for).filter(|_| may_release);
            if let Some(job) = next.filter(|(at, _)| now >= *at).map(|(_, job)| job.clone()) {
                *last_release = Some(now);
                jobs.release(&job);
                jobs.settle(NAMESPACE, now);
                released = true;
            }
        }
        released
    }

    /// Takes back what was counted of a Job, as far as it is not counted again.
    fn uncount(&mut self, job: &JobUid, before: &Entry, after: &JobStatus, now: Moment) {
        let losses = before.losses.as_deref();
        for (node, _) in losses.iter().flat_map(|losses| &losses.process_gone) {
            let Some(jobs) = self.gone_on.get_mut(node) else { continue };
            *jobs -= 1;
            if *jobs == 0 {
                self.gone_on.remove(node);
                let stays = after.process_gone.iter().any(|(other, _)| other == node);
                // What was released is acted upon, which is no return.
                let acted_on = self.process_gone.cluster().is_released(node);
                if !stays {
                    self.process_gone.leave(node, if acted_on { Leave::Vanished } else { Leave::Returned }, now);
                }
            }
        }
        let Some(namespace) = self.namespaces.get_mut(&before.namespace) else { return };
        let group = &mut namespace.jobs;
        group.of -= 1;
        if losses.is_some_and(|losses| losses.heartbeat_lost) && !after.heartbeat_lost {
            let how = if group.is_released(job) { Leave::Vanished } else { Leave::Returned };
            group.leave(job, how, now);
        }
        if group.is_empty() {
            self.namespaces.remove(&before.namespace);
        }
    }
}

#[cfg(test)]
mod tests;
