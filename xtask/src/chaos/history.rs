//! What was done to the cluster and its Jobs, and when: the truth, of which the reaper knows nothing.

use std::collections::BTreeMap;
use std::time::Duration;

/// Time since the campaign began.
pub(super) type At = Duration;

/// From when until when; until now, if it is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: At,
    pub(super) until: Option<At>,
}

impl Span {
    pub(super) fn since(from: At) -> Self {
        Self { from, until: None }
    }

    pub(super) fn ends(self, most: At) -> At {
        self.until.unwrap_or(most)
    }

    /// Whether any of it lies between these two.
    pub(super) fn meets(self, from: At, until: At) -> bool {
        self.from <= until && self.until.is_none_or(|end| end >= from)
    }
}

/// How a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition {
    /// All that is on it can be seen and is reported.
    #[default]
    Well,
    /// Crashed, or partitioned with what runs on it.
    Cut,
    /// Its kubelet is stopped.
    NoKubelet,
    /// Its runtime is stopped.
    Frozen,
    /// On its way to be well again.
    Recovering,
}

/// How a node was.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeHistory {
    changes: Vec<(At, Condition)>,
    /// When its object was not there.
    pub(super) deleted: Vec<Span>,
    /// When neither beats nor reports could leave it.
    pub(super) walled: Vec<Span>,
}

impl NodeHistory {
    pub(super) fn becomes(&mut self, at: At, condition: Condition) {
        self.changes.push((at, condition));
    }

    pub(super) fn at(&self, at: At) -> Condition {
        self.changes.iter().rev().find(|(since, _)| *since <= at).map(|(_, condition)| *condition).unwrap_or_default()
    }

    /// Whether neither beats nor reports can leave it.
    pub(super) fn is_silent(&self, at: At) -> bool {
        self.at(at) == Condition::Cut || self.walled.iter().any(|span| span.meets(at, at))
    }

    /// How it was from `from` on, piece by piece.
    pub(super) fn stretches(&self, from: At) -> Vec<(Span, Condition)> {
        let mut stretches = vec![(Span::since(from), self.at(from))];
        for (at, condition) in self.changes.iter().filter(|(at, _)| *at > from) {
            if let Some((last, _)) = stretches.last_mut() {
                last.until = Some(*at);
            }
            stretches.push((Span::since(*at), *condition));
        }
        stretches
    }

    /// Whether it was in this condition at any time between these two.
    pub(super) fn was(&self, condition: Condition, from: At, until: At) -> bool {
        self.stretches(Duration::ZERO).iter().any(|(span, was)| *was == condition && span.meets(from, until))
    }
}

/// What a Job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its worker exits 0 after this time.
    Works(Duration),
    /// Its worker exits 3 after this time.
    Fails(Duration),
    /// Its worker needs more memory than it may have.
    OutOfMemory,
    /// Its image does not exist.
    NoImage,
}

impl Kind {
    pub(super) fn lasting(self) -> Option<Duration> {
        match self {
            Self::Works(lasting) | Self::Fails(lasting) => Some(lasting),
            Self::OutOfMemory | Self::NoImage => None,
        }
    }
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) at: At,
    /// It exited 0 by itself.
    pub(super) well: bool,
}

/// One Job.
#[derive(Clone, Debug)]
pub(super) struct JobHistory {
    pub(super) name: String,
    pub(super) node: String,
    pub(super) kind: Kind,
    pub(super) submitted: At,
    /// When the process of its last worker was first seen.
    pub(super) started: Option<At>,
    /// When that process was seen to have ended, other than because the Job was suspended.
    pub(super) ended: Option<End>,
    /// When the kubelet's report of that was first seen: from then on it is up to Kubernetes' controllers, whatever befalls the node.
    pub(super) reported: Option<At>,
    /// When Kubernetes called it complete or failed, by the Job's own condition.
    pub(super) finished: Option<At>,
    pub(super) deleted: Option<At>,
    /// When its pod was evicted.
    pub(super) evicted: Option<At>,
    /// When its sidecar could not be heard.
    pub(super) muted: Vec<Span>,
    pub(super) suspended: Vec<Span>,
    /// What was done to it, for people.
    pub(super) story: Vec<String>,
}

impl JobHistory {
    pub(super) fn is_suspended(&self) -> bool {
        self.suspended.last().is_some_and(|span| span.until.is_none())
    }
}

/// A notification as it came.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) job: String,
    pub(super) at: At,
    pub(super) kind: jobwarden_common::notification::OutcomeKind,
    pub(super) reason: String,
    pub(super) deliveries: u32,
    /// The row and the evidence, for people.
    pub(super) because: String,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) nodes: BTreeMap<String, NodeHistory>,
    pub(super) jobs: Vec<JobHistory>,
    /// When the control plane or the reapers were harmed.
    pub(super) upheavals: Vec<Span>,
    /// When there were no agents.
    pub(super) agentless: Vec<Span>,
    /// When all nodes but one were partitioned, and how many workers ran on them.
    pub(super) storms: Vec<(Span, usize)>,
    /// When the reaper did not hear, or a guard held what it concluded.
    pub(super) pauses: Vec<Span>,
    /// When a leader began to listen.
    pub(super) terms: Vec<At>,
    /// How many faults there were.
    pub(super) faults: usize,
}

impl History {
    pub(super) fn job(&mut self, name: &str) -> Option<&mut JobHistory> {
        self.jobs.iter_mut().find(|job| job.name == name)
    }

    pub(super) fn node(&mut self, name: &str) -> &mut NodeHistory {
        self.nodes.entry(name.to_owned()).or_default()
    }
}
