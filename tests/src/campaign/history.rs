//! What was really done to the cluster and its Jobs, and when. The reaper knows nothing of this record.

use std::collections::BTreeMap;
use std::time::Duration;

use jobwarden_common::notification::OutcomeKind;

/// Time since the campaign began.
pub type CampaignTime = Duration;

/// A period that may not have ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub from: CampaignTime,
    /// When it ended; `None` while it lasts.
    pub until: Option<CampaignTime>,
}

impl Span {
    /// A period that has begun and lasts.
    pub fn open(from: CampaignTime) -> Self {
        Self { from, until: None }
    }

    /// When it ended, or `now` while it lasts.
    pub fn end_or(self, now: CampaignTime) -> CampaignTime {
        self.until.unwrap_or(now)
    }

    /// Whether a part of it is between these two times.
    pub fn overlaps(self, from: CampaignTime, until: CampaignTime) -> bool {
        self.from <= until && self.until.is_none_or(|end| end >= from)
    }
}

/// Sets the end of a period, if there is one.
pub(crate) fn close(span: Option<&mut Span>, at: CampaignTime) {
    if let Some(span) = span {
        span.until = Some(at);
    }
}

/// The condition of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Everything on it can be observed and is reported.
    #[default]
    Healthy,
    /// Crashed, or partitioned while its workers run.
    CutOff,
    /// Its kubelet is stopped.
    NoKubelet,
    /// Its container runtime is frozen.
    Frozen,
    /// Repaired, but not healthy yet.
    Recovering,
}

/// The conditions of a node over time.
#[derive(Clone, Debug, Default)]
pub struct NodeHistory {
    changes: Vec<(CampaignTime, Condition)>,
    /// When its Node object did not exist.
    pub deleted: Vec<Span>,
    /// When neither heartbeats nor agent reports could leave it.
    pub blocked: Vec<Span>,
}

impl NodeHistory {
    /// Records a change.
    pub fn set_condition(&mut self, at: CampaignTime, condition: Condition) {
        self.changes.push((at, condition));
    }

    /// Its condition at a time.
    pub fn condition_at(&self, at: CampaignTime) -> Condition {
        self.changes.iter().rev().find(|(since, _)| *since <= at).map(|(_, condition)| *condition).unwrap_or_default()
    }

    /// Whether neither heartbeats nor agent reports can leave it.
    pub fn is_silent(&self, at: CampaignTime) -> bool {
        self.condition_at(at) == Condition::CutOff || self.blocked.iter().any(|span| span.overlaps(at, at))
    }

    /// Its conditions from `from` on, one after the other.
    pub fn periods(&self, from: CampaignTime) -> Vec<(Span, Condition)> {
        let mut periods = vec![(Span::open(from), self.condition_at(from))];
        for (at, condition) in self.changes.iter().filter(|(at, _)| *at > from) {
            if let Some((last, _)) = periods.last_mut() {
                last.until = Some(*at);
            }
            periods.push((Span::open(*at), *condition));
        }
        periods
    }

    /// Whether it was in this condition at any time between these two.
    pub fn was_in(&self, condition: Condition, from: CampaignTime, until: CampaignTime) -> bool {
        self.periods(Duration::ZERO).iter().any(|(span, was)| *was == condition && span.overlaps(from, until))
    }
}

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
pub struct End {
    /// When.
    pub at: CampaignTime,
    /// Whether it exited with 0 and was not killed.
    pub succeeded: bool,
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
    /// When it was created or last resumed.
    pub submitted: CampaignTime,
    /// When the process of its latest worker started.
    pub started: Option<CampaignTime>,
    /// When that process ended, unless the Job was suspended.
    pub ended: Option<End>,
    /// When the kubelet's report of that end was first seen. From then on the outcome depends on Kubernetes' controllers
    /// only, whatever happens to the node.
    pub reported: Option<CampaignTime>,
    /// When Kubernetes marked it complete or failed, by the Job's condition.
    pub finished: Option<CampaignTime>,
    /// When it was deleted.
    pub deleted: Option<CampaignTime>,
    /// When its pod was evicted.
    pub evicted: Option<CampaignTime>,
    /// When its sidecar's traffic was blocked.
    pub sidecar_blocked: Vec<Span>,
    /// When it was suspended.
    pub suspended: Vec<Span>,
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
            started: None,
            ended: None,
            reported: None,
            finished: None,
            deleted: None,
            evicted: None,
            sidecar_blocked: Vec::new(),
            suspended: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Whether it is suspended now.
    pub fn is_suspended(&self) -> bool {
        self.suspended.last().is_some_and(|span| span.until.is_none())
    }
}

/// A notification that was received.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The Job's name.
    pub job: String,
    /// When it was first received.
    pub at: CampaignTime,
    /// The kind of outcome.
    pub kind: OutcomeKind,
    /// The reason.
    pub reason: String,
    /// How often it was delivered.
    pub deliveries: u32,
    /// The row of the decision table and the evidence, as text for the report.
    pub explanation: String,
}

/// The record of a campaign.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The nodes by name.
    pub nodes: BTreeMap<String, NodeHistory>,
    /// The Jobs in the order of their creation.
    pub jobs: Vec<JobHistory>,
    /// When the control plane or the reapers were damaged.
    pub disruptions: Vec<Span>,
    /// When no agents ran.
    pub agentless: Vec<Span>,
    /// When all nodes but one were partitioned, and how many workers ran on them.
    pub storms: Vec<(Span, usize)>,
    /// When the reaper received nothing, or a guard held its verdicts.
    pub pauses: Vec<Span>,
    /// When each leader began to receive signals.
    pub terms: Vec<CampaignTime>,
    /// The number of faults.
    pub faults: usize,
}

impl History {
    /// The Job of this name.
    pub fn job(&mut self, name: &str) -> Option<&mut JobHistory> {
        self.jobs.iter_mut().find(|job| job.name == name)
    }

    /// The node of this name, which is added if it is unknown.
    pub fn node(&mut self, name: &str) -> &mut NodeHistory {
        self.nodes.entry(name.to_owned()).or_default()
    }
}
