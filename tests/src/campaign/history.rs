//! What was really done to the cluster and its Jobs, and when. The reaper knows nothing of this record.

mod job;
mod node;
mod seen;

use std::collections::BTreeMap;

use jobwarden_common::notification::OutcomeKind;

pub use job::{Attempt, Deletion, End, Eviction, How, JobHistory, JobKind, Propagation};
pub use node::{Condition, NodeHistory};
pub use seen::{PodSeen, Stage};

pub(crate) use super::span::close;
pub use super::span::{CampaignTime, Span};

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

/// A time in which nodes that carried workers were cut off in one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storm {
    /// When.
    pub span: Span,
    /// The number of these nodes.
    pub silent: usize,
    /// The number of nodes that carried workers when it began.
    pub carrying: usize,
}

/// Something that was done, or that a guard did, as a line of text for the report.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When.
    pub at: CampaignTime,
    /// The node that it concerns; `None` if it concerns all.
    pub node: Option<String>,
    /// What.
    pub what: String,
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
    /// When all nodes but one were partitioned.
    pub storms: Vec<Storm>,
    /// When the API server refused the reaper's writes to Jobs and pods. It may report them as notices; its outcomes are due as ever.
    pub refusals: Vec<Span>,
    /// When the reaper received nothing, or a guard rightly held its verdicts.
    pub pauses: Vec<Span>,
    /// When each leader began to receive signals, and when it received them again after an outage.
    pub terms: Vec<CampaignTime>,
    /// The number of faults.
    pub faults: usize,
    /// What happened to the cluster, for the report.
    pub log: Vec<Entry>,
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

    /// Records a complete list of pods that was asked for at this time.
    pub fn see_pods(&mut self, pods: &[PodSeen], asked: CampaignTime) {
        for job in &mut self.jobs {
            let of_job: Vec<_> = pods.iter().filter(|pod| pod.job == job.name).collect();
            job.see_pods(&of_job, asked);
        }
    }

    /// Records that the worker process in this pod of the Job has ended, and how.
    pub fn worker_ended(&mut self, job: &str, pod: &str, at: CampaignTime) {
        let Some(job) = self.jobs.iter_mut().find(|it| it.name == job) else { return };
        let unknown = NodeHistory::default();
        let node = self.nodes.get(&job.node).unwrap_or(&unknown);
        job.end_attempt(pod, node, at);
    }
}
