//! What is known of one Job at one moment.

use std::collections::BTreeMap;

use jobwarden_common::notification::{Attempt, Cause, TimelineEntry, Usage};

use crate::{
    evidence::Evidence,
    outcome::OutcomeName,
    policy::{Labels, Origins, Policy},
};

/// What is known of one Job at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSnapshot {
    /// What the judge reads.
    pub evidence: Evidence,
    /// The policy that applies to the Job.
    pub policy: Policy,
    /// The layer that each value of the policy comes from.
    pub origins: Origins,
    /// The labels by which the filters of sinks select the Job.
    pub labels: Labels,
    /// What the attempts of the Job used, if an agent observed anything.
    pub usage: Option<Usage>,
    /// The last pod of the Job whose object is gone.
    pub past: Option<PastAttempt>,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// The object of the Job is gone from the API.
    pub gone: bool,
    /// The recorded outcomes of the Job and its attempts, and whether each is settled with every sink.
    pub outcomes: BTreeMap<OutcomeName, bool>,
}

/// A pod whose object is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastAttempt {
    /// The pod.
    pub attempt: Attempt,
    /// Why it ended, by its last status.
    pub cause: Cause,
    /// Every main container ended with exit code 0 before the pod was deleted.
    pub work_done: bool,
}
