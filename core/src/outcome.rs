//! Names of outcomes: what makes recording repeatable, and the ID of every notification.

use std::fmt;

use jobwarden_common::identity::{JobUid, PodUid};

/// Name of a `JobOutcome`. It follows from what the outcome is about, so that recording twice is one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutcomeName(String);

impl OutcomeName {
    /// The final outcome of a Job. Its kind is not in the name: two final outcomes of one Job cannot both exist.
    pub fn job_final(job: &JobUid) -> Self {
        Self(format!("{job}.final"))
    }

    /// Something is wrong with a Job, but nothing is decided.
    pub fn job_suspect(job: &JobUid) -> Self {
        Self(format!("{job}.suspect"))
    }

    /// An attempt is lost, and the Job goes on.
    pub fn attempt_failed(pod: &PodUid) -> Self {
        Self(format!("{pod}.attempt-failed"))
    }

    /// Something is wrong with an attempt, but nothing is decided.
    pub fn pod_suspect(pod: &PodUid) -> Self {
        Self(format!("{pod}.suspect"))
    }

    /// The beat of an attempt is late. Apart from [`Self::pod_suspect`], so that this lesser notice cannot stand in the
    /// way of a graver one.
    pub fn pod_late(pod: &PodUid) -> Self {
        Self(format!("{pod}.late"))
    }

    /// The name of an object that exists.
    pub fn from_object(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OutcomeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
