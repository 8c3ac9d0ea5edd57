//! What was done to a Job, and what its workers did.

use std::time::Duration;

use super::node::NodeHistory;
use crate::campaign::span::{CampaignTime, Span};

/// How much too early a process may seem to end: the kernel counts its start in hundredths of a second.
const TOLERANCE: Duration = Duration::from_millis(500);
/// The precision of the time at which a process has ended: all of them are looked at several times a second.
const POLLED: Duration = Duration::from_secs(1);
/// How long after a pause a worker may end because of it: the Job controller and the kubelet may lag behind.
const LINGER: Duration = Duration::from_mins(1);

/// What the worker of a Job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// It exits with 0 after this time.
    Succeeds(Duration),
    /// It exits with 3 after this time.
    Fails(Duration),
    /// It exceeds its memory limit.
    OutOfMemory,
    /// Its image does not exist.
    MissingImage,
}

impl JobKind {
    /// How long the worker runs, if it runs at all.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Succeeds(duration) | Self::Fails(duration) => Some(duration),
            Self::OutOfMemory | Self::MissingImage => None,
        }
    }
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its time was over.
    Exited {
        /// Whether it exited with 0.
        succeeded: bool,
    },
    /// A fault killed it: SIGKILL, or a power cut.
    Killed,
    /// None of these: the kubelet was asked to stop it.
    Stopped,
}

/// The end of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: CampaignTime,
    /// How.
    pub how: How,
}

impl End {
    /// Whether it exited with 0.
    pub fn succeeded(self) -> bool {
        self.how == How::Exited { succeeded: true }
    }
}

/// A worker process in one pod of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The pod's name.
    pub pod: String,
    /// When the process started.
    pub started: CampaignTime,
    /// When and how it ended.
    pub ended: Option<End>,
    /// When the kubelet's report of that end was first seen. From then on the outcome depends on Kubernetes' controllers
    /// only, whatever happens to the node.
    pub reported: Option<CampaignTime>,
    /// When the Job controller was first seen to have removed its pod because the Job wanted none. The process may run on, where the
    /// kubelet cannot be told.
    pub dropped: Option<CampaignTime>,
}

/// What a deletion does with the pods of the Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The Job goes first.
    Background,
    /// The pods go first.
    Foreground,
    /// The pods stay, and their workers run on.
    Orphan,
}

/// The deletion of a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// When it was asked for. An API server that goes down may do so without an answer.
    pub asked: CampaignTime,
    /// When the API server confirmed it.
    pub done: Option<CampaignTime>,
    /// What it does with the pods.
    pub propagation: Propagation,
}

/// The eviction of its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// When it was asked for.
    pub asked: CampaignTime,
    /// Whether the API server confirmed it.
    pub confirmed: bool,
}

/// What happened to one Job.
#[derive(Clone, Debug)]
pub struct JobHistory {
    /// Its name.
    pub name: String,
    /// The node that its pods run on.
    pub node: String,
    /// What its worker does.
    pub kind: JobKind,
    /// When it was created or last wanted a pod again.
    pub submitted: CampaignTime,
    /// When a pod of it was first seen to have a node since then.
    pub bound: Option<CampaignTime>,
    /// Its workers that were found, in the order of their discovery.
    pub attempts: Vec<Attempt>,
    /// When a fault killed its worker.
    pub killed: Vec<CampaignTime>,
    /// When Kubernetes marked it complete or failed, by the Job's condition.
    pub finished: Option<CampaignTime>,
    /// Its deletion.
    pub deleted: Option<Deletion>,
    /// The eviction of its latest pod.
    pub evicted: Option<Eviction>,
    /// When its sidecar's traffic was blocked.
    pub sidecar_blocked: Vec<Span>,
    /// When it wanted no pod: suspended, or scaled down to none.
    pub pauses: Vec<Span>,
    /// What was done to it, as lines of text for the report.
    pub log: Vec<String>,
}

impl JobHistory {
    /// A Job that is created now.
    pub fn new(name: &str, node: &str, kind: JobKind, submitted: CampaignTime) -> Self {
        Self {
            name: name.to_owned(),
            node: node.to_owned(),
            kind,
            submitted,
            bound: None,
            attempts: Vec::new(),
            killed: Vec::new(),
            finished: None,
            deleted: None,
            evicted: None,
            sidecar_blocked: Vec::new(),
            pauses: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Adds a worker that was found.
    pub fn worker_started(&mut self, pod: &str, at: CampaignTime) {
        let attempt = Attempt { pod: pod.to_owned(), started: at, ended: None, reported: None, dropped: None };
        self.attempts.push(attempt);
        // An eviction before the start concerned an earlier pod.
        self.evicted = self.evicted.filter(|eviction| eviction.asked > at);
    }

    /// Records the end of the worker in this pod. A process that ends before its time, and was not killed, was told to by its kubelet.
    pub fn end_attempt(&mut self, pod: &str, node: &NodeHistory, at: CampaignTime) {
        let (kind, killed) = (self.kind, &self.killed);
        let Some(attempt) = self.attempts.iter_mut().find(|attempt| attempt.pod == pod) else { return };
        let started = attempt.started;
        let lasted = at.saturating_sub(started) + TOLERANCE;
        let how = if kind.duration().is_some_and(|duration| lasted >= duration) {
            How::Exited { succeeded: matches!(kind, JobKind::Succeeds(_)) }
        } else if killed.iter().any(|kill| *kill >= started && *kill <= at) || node.cut_power(started, at) {
            How::Killed
        } else {
            How::Stopped
        };
        attempt.ended = Some(End { at, how });
    }

    /// The worker that decides the outcome: the last one, unless the Job goes on without it.
    pub fn current(&self) -> Option<&Attempt> {
        self.attempts.iter().rev().find(|attempt| !self.is_history(attempt))
    }

    /// Whether the Job goes on without this worker: Kubernetes stopped it because the Job wanted no pod. A worker that was never
    /// stopped, because the Job was resumed before the Job controller acted, is none of these.
    pub fn is_history(&self, attempt: &Attempt) -> bool {
        let stopped = attempt.ended.filter(|end| end.how == How::Stopped);
        attempt.dropped.is_some() || stopped.is_some_and(|end| self.was_paused(end.at.saturating_sub(LINGER), end.at))
    }

    /// Whether Kubernetes may have removed the pod of this worker before it learned of its end, because the Job wanted no pod.
    pub fn is_doubtful(&self, end: End) -> bool {
        self.was_paused(end.at.saturating_sub(LINGER), end.at + POLLED)
    }

    /// The end of the worker that decides the outcome.
    pub fn ended(&self) -> Option<End> {
        self.current()?.ended
    }

    /// Whether a worker of it was seen and was running at this time.
    pub fn lives(&self, at: CampaignTime) -> bool {
        let ends_later = |attempt: &Attempt| attempt.ended.is_none_or(|end| end.at > at + POLLED);
        self.attempts.iter().any(|attempt| attempt.started <= at && ends_later(attempt))
    }

    /// Whether it wants no pod now.
    pub fn is_paused(&self) -> bool {
        self.pauses.last().is_some_and(|span| span.until.is_none())
    }

    /// Whether it wanted no pod at any time between these two.
    pub fn was_paused(&self, from: CampaignTime, until: CampaignTime) -> bool {
        self.pauses.iter().any(|span| span.overlaps(from, until))
    }

    /// Whether its deletion had been asked for.
    pub fn was_deleted(&self, at: CampaignTime) -> bool {
        self.deleted.is_some_and(|deletion| deletion.asked <= at)
    }

    /// Whether the eviction of its pod had been asked for.
    pub fn was_evicted(&self, at: CampaignTime) -> bool {
        self.evicted.is_some_and(|eviction| eviction.asked <= at)
    }

    /// Whether it was open: created, and neither finished nor deleted.
    pub fn is_open(&self, at: CampaignTime) -> bool {
        self.submitted <= at && self.finished.is_none_or(|finished| finished > at) && !self.was_deleted(at)
    }
}
