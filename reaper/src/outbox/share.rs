//! What the outbox knows of the share of each namespace: how much it has recorded, and what of it waits to be reported together. The
//! decisions are in [`jobwarden_core::outcome`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;
use jobwarden_common::identity::JobUid;
use jobwarden_core::outcome::{OutcomeLimits, OutcomeName, Tally, WINDOW};

/// What is to be done about an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is recorded.
    Record,
    /// It is part of a coalesced outcome that exists.
    Covered,
    /// It is going to be part of one.
    Waits {
        /// It was counted just now.
        is_new: bool,
    },
}

/// The outcomes of a namespace that are to be recorded together.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) namespace: String,
    pub(crate) tally: Tally,
    /// The share of the namespace.
    pub(crate) limit: usize,
    pub(super) members: Vec<(JobUid, OutcomeName)>,
}

/// The shares of the namespaces.
#[derive(Debug, Default)]
pub(super) struct Shares {
    pub(super) limits: OutcomeLimits,
    /// The outcomes of each namespace that exist.
    pub(super) recorded: HashMap<Arc<str>, BTreeSet<(Timestamp, OutcomeName)>>,
    pub(super) gathering: BTreeMap<String, Gathering>,
    /// When the last coalesced outcome of a namespace was made, for a little longer than that matters.
    pub(super) coalesced: HashMap<String, Instant>,
    /// The outcomes that wait, by their Jobs.
    pub(super) waiting: HashMap<JobUid, BTreeSet<OutcomeName>>,
    /// The outcomes that are part of a coalesced one, while their Jobs are known.
    pub(super) covered: HashMap<JobUid, BTreeMap<OutcomeName, OutcomeName>>,
}

/// What waits of a namespace.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) tally: Tally,
    pub(super) members: Vec<(JobUid, OutcomeName)>,
    pub(super) first: Instant,
}

impl Shares {
    /// The name of a namespace, shared by all of its outcomes.
    pub(super) fn namespace(&self, namespace: &str) -> Arc<str> {
        self.recorded.get_key_value(namespace).map_or_else(|| namespace.into(), |(known, _)| Arc::clone(known))
    }

    pub(super) fn recorded(&mut self, namespace: &Arc<str>, at: Timestamp, name: &OutcomeName) {
        self.recorded.entry(Arc::clone(namespace)).or_default().insert((at, name.clone()));
    }

    pub(super) fn removed(&mut self, namespace: &str, at: Timestamp, name: &OutcomeName) {
        if let Some(known) = self.recorded.get_mut(namespace) {
            known.remove(&(at, name.clone()));
            if known.is_empty() {
                self.recorded.remove(namespace);
            }
        }
    }

    /// Whether the namespace has recorded its share within the last hour before `at`.
    pub(super) fn is_used_up(&self, namespace: &str, at: Timestamp) -> bool {
        let limit = self.limits.of(namespace);
        let from = at.checked_sub(WINDOW).unwrap_or(Timestamp::MIN);
        let known = self.recorded.get(namespace).into_iter();
        let recent = known.flat_map(|known| known.range((from, OutcomeName::from_object(""))..));
        recent.filter(|(_, name)| !name.is_coalesced()).take(limit).count() >= limit
    }

    /// The outcomes of a Job that are part of coalesced ones.
    pub(super) fn covered(&self, job: &JobUid) -> impl Iterator<Item = (&OutcomeName, &OutcomeName)> {
        self.covered.get(job).into_iter().flatten()
    }

    /// An outcome of the Job waits no more.
    pub(super) fn settle_waiting(&mut self, job: &JobUid, member: &OutcomeName) {
        if let Some(waiting) = self.waiting.get_mut(job) {
            waiting.remove(member);
            if waiting.is_empty() {
                self.waiting.remove(job);
            }
        }
    }
}
