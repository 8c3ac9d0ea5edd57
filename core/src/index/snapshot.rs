//! Snapshots: what is known of one Job, put together from the records.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use jobwarden_common::{
    identity::{JobUid, NodeName},
    notification::TimelineEntry,
};

use super::{Index, usage};
use crate::{
    evidence::{
        Evidence, JobEvidence, JobStage, LastBeat, MainContainer, NodeEvidence, NodeState, PodEvidence, PodPhase,
        Sidecar, Terminating,
    },
    facts::{
        job::{BackOff, JobFacts, LONGEST_BACK_OFF, Progress, back_off},
        pod::{MainFacts, SidecarFacts},
    },
    index::{
        records::{JobRecord, PodRecord},
        timeline::Event,
    },
    moment::Moment,
    policy::Policy,
    snapshot::JobSnapshot,
};

/// The pods whose last signals are part of a timeline; a Job may have thousands.
const MAX_PODS_IN_TIMELINE: usize = 16;

impl Index {
    /// What is known of a Job at `now`, with times for people as `wall` gives them; `None` if the Job itself was never seen, or
    /// is forgotten. The outcomes of the Job are the caller's to add.
    pub fn snapshot(&self, uid: &JobUid, now: Moment, wall: impl Fn(Moment) -> Timestamp) -> Option<JobSnapshot> {
        let job = self.jobs.get(uid)?;
        let facts = job.facts.as_ref()?;
        let records: Vec<_> = job.pods.iter().filter_map(|uid| self.pods.get(uid)).collect();
        let until = job.finished_since.unwrap_or(now);
        let usage = records
            .iter()
            .filter_map(|pod| pod.usage(until))
            .chain(job.past_usage.as_deref().cloned())
            .reduce(|a, b| usage::max(&a, &b));
        let timeline =
            job.timeline.with(records.iter().take(MAX_PODS_IN_TIMELINE).flat_map(|pod| self.last_signals(pod)));
        let entry = |event: Event| TimelineEntry { at: format!("{:.3}", wall(event.at)), event: event.what.into() };
        Some(JobSnapshot {
            evidence: self.evidence_of(job, facts),
            policy: facts.effective.policy.clone(),
            origins: facts.effective.origins.clone(),
            labels: facts.labels.clone(),
            usage,
            past: job.past.as_deref().cloned(),
            timeline: timeline.into_iter().map(entry).collect(),
            gone: job.gone,
            outcomes: BTreeMap::new(),
        })
    }

    /// What the judge reads of a Job, and the policy that applies to it.
    pub fn evidence(&self, uid: &JobUid) -> Option<(Evidence, Policy)> {
        let job = self.jobs.get(uid)?;
        let facts = job.facts.as_ref()?;
        Some((self.evidence_of(job, facts), facts.effective.policy.clone()))
    }

    fn evidence_of(&self, job: &JobRecord, facts: &JobFacts) -> Evidence {
        // What is out of enrolment is not judged.
        let observed = job.pods.iter().filter(|_| job.unenrolled_since.is_none());
        let pods = observed.filter_map(|uid| self.pods.get(uid));
        Evidence {
            job: job_evidence(job, facts, self.podless_since(job, facts)),
            pods: pods.map(|pod| self.pod_evidence(pod)).collect(),
            listening_since: self.listening_since(),
        }
    }

    fn pod_evidence(&self, pod: &PodRecord) -> PodEvidence {
        let (facts, rare) = (&pod.facts, pod.rare());
        PodEvidence {
            uid: facts.uid.clone(),
            name: facts.name.clone(),
            phase: facts.phase,
            node: facts.node.as_ref().map(|name| self.node_evidence(name)),
            bound_since: pod.bound_since,
            ran_since: pod.ran_since,
            unscheduled_since: rare.unscheduled_since,
            terminating: facts.grace.zip(rare.terminating_since).map(|(grace, since)| Terminating { since, grace }),
            mains: facts.mains.iter().map(main_container).collect(),
            starting_since: self.starting_since(pod),
            initializing: pod.initializing(),
            exited: pod.exited(),
            rebooted: rare.rebooted,
            start_problem: facts.start_problem.as_deref().cloned(),
            sidecar: match (facts.sidecar, pod.sidecar_since) {
                (SidecarFacts::Absent, _) => Sidecar::Absent,
                (SidecarFacts::LeftOut, _) => Sidecar::LeftOut,
                (SidecarFacts::Started, Some(since)) => Sidecar::Started(since),
                (SidecarFacts::NotStarted | SidecarFacts::Started, _) => Sidecar::NotStarted,
            },
            beat: pod.beat,
            agent: pod.agent,
            seen_alive: pod.seen_alive,
            cpu_progress: pod.cpu.map(|cpu| cpu.at),
            cause: pod.cause(),
            work_done: pod.work_done,
        }
    }

    /// A node that becomes ready starts its pods from then on.
    fn starting_since(&self, pod: &PodRecord) -> Option<Moment> {
        let ready_since = pod.facts.node.as_ref().and_then(|name| self.nodes.get(name)?.ready_since);
        pod.start.since().map(|since| ready_since.map_or(since, |ready| since.max(ready)))
    }

    /// Since when the Job controller should have created a pod: its back-off is over then, at the latest. That may be in the future.
    fn podless_since(&self, job: &JobRecord, facts: &JobFacts) -> Option<Moment> {
        let since = job.podless_since?;
        let pods = job.pods.iter().filter_map(|uid| self.pods.get(uid));
        let failed = pods.filter(|pod| pod.facts.phase == PodPhase::Failed);
        let back_off = match facts.back_off {
            BackOff::AfterFailures(failures) => back_off(failures.max(failed.count().try_into().unwrap_or(u32::MAX))),
            // The Job controller keeps the last failed pod of each index until it has replaced it.
            BackOff::PerIndex => {
                back_off(failed.map(|pod| pod.facts.earlier_failures.saturating_add(1)).max().unwrap_or(0))
            }
            BackOff::Uncounted if job.past.is_none() && job.pods.is_empty() => Duration::ZERO,
            BackOff::Uncounted => LONGEST_BACK_OFF,
        };
        Some(since + back_off)
    }

    fn node_evidence(&self, name: &NodeName) -> NodeEvidence {
        let known = self.nodes.get(name);
        NodeEvidence {
            name: name.clone(),
            zone: known.and_then(|node| node.zone.clone()),
            state: known.and_then(|node| node.state).unwrap_or(NodeState::NotReady),
            avoided: known.is_some_and(|node| node.avoided),
            lease_changed: self.leading_since.max(known.map(|node| node.lease_changed).unwrap_or_default()),
            lease_steady_since: self.leading_since.max(known.map(|node| node.lease_steady_since).unwrap_or_default()),
        }
    }

    /// The last signals of a pod and of its node.
    fn last_signals(&self, pod: &PodRecord) -> impl Iterator<Item = Event> {
        let beat = match pod.beat {
            LastBeat::None => None,
            LastBeat::Running { last } | LastBeat::Ending { last } => {
                Some(Event { at: last, what: format!("pod {}: last beat", pod.facts.name).into() })
            }
        };
        let lease = pod.facts.node.as_ref().filter(|_| pod.is_live()).and_then(|name| {
            let node = self.nodes.get(name).filter(|node| node.renewed.is_some())?;
            Some(Event { at: node.lease_changed, what: format!("node {name}: Lease last renewed").into() })
        });
        beat.into_iter().chain(lease)
    }
}

fn main_container(main: &MainFacts) -> MainContainer {
    MainContainer { name: main.name.to_string(), state: main.state }
}

fn job_evidence(job: &JobRecord, facts: &JobFacts, podless_since: Option<Moment>) -> JobEvidence {
    let stage = match (&facts.progress, job.finished_since) {
        (Progress::Finished(finish), Some(since)) => JobStage::Finished { since, finish: finish.clone() },
        _ if job.gone => JobStage::Vanished,
        (progress, _) => match (facts.deletion, progress) {
            (Some(deletion), _) => JobStage::Deleting { orphaning: deletion.orphaning },
            (None, Progress::Failing { reason, message }) => {
                JobStage::Failing { reason: reason.clone(), message: message.clone() }
            }
            (None, Progress::Succeeding) => JobStage::Succeeding,
            (None, Progress::Open | Progress::Finished(_)) => JobStage::Open,
        },
    };
    JobEvidence {
        identity: facts.identity.clone(),
        stage,
        suspended: facts.suspended,
        managed_elsewhere: facts.managed_elsewhere,
        unenrolled_since: job.unenrolled_since,
        podless_since,
        wanted_pods: facts.wanted_pods,
        retries: facts.retries,
        has_finalizer: facts.has_finalizer,
        owned: facts.owned,
        has_ttl: facts.has_ttl,
        safe_to_duplicate: facts.safe_to_duplicate,
        replaces_only_failed: facts.replaces_only_failed,
        started: facts.started.is_some(),
        active: job.active,
    }
}
