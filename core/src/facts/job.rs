//! The facts of a Job, or of a bare pod in its place, read from the object.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use jobwarden_common::names::{FINALIZER, annotation, label_value};
use k8s_openapi::{
    api::batch::v1::{Job, JobCondition, JobSpec, JobStatus},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    evidence::{Finish, JobIdentity, JobKind, Retries},
    policy::{BadSetting, Changes, Effective, Labels, Policies},
};

pub use self::bare::VERDICT;
pub(crate) use self::bare::verdict;

mod bare;

/// The Job controller of Kubernetes itself (`batchv1.JobControllerName`).
pub(crate) const KUBERNETES_JOB_CONTROLLER: &str = "kubernetes.io/job-controller";

/// The finalizer that asks the garbage collector to leave the pods alone (`metav1.FinalizerOrphanDependents`).
const ORPHAN_FINALIZER: &str = "orphan";

/// `backoffLimit` where a Job has none, as the API defaults it.
const DEFAULT_BACKOFF_LIMIT: i32 = 6;

/// The facts of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct JobFacts {
    /// Who it is.
    pub identity: JobIdentity,
    /// The policy that applies, and the layer that each of its values comes from. Shared by Jobs with equal policies.
    pub effective: Arc<Effective>,
    /// What its own annotations set.
    pub own: Changes,
    /// The labels by which rules match it.
    pub labels: Labels,
    /// Its progress, by its conditions.
    pub progress: Progress,
    /// It carries a deletion timestamp.
    pub deletion: Option<Deletion>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `spec.managedBy` names another controller.
    pub managed_elsewhere: bool,
    /// `spec.parallelism` is 0: it needs no pods.
    pub wants_no_pods: bool,
    /// See [`Retries`].
    pub retries: Retries,
    /// Carries our finalizer.
    pub has_finalizer: bool,
    /// Has a controller among its owners.
    pub owned: bool,
    /// Kubernetes deletes it after a time.
    pub has_ttl: bool,
    /// Two of its pods may run side by side.
    pub safe_to_duplicate: bool,
    /// A pod that is being deleted is neither counted nor replaced before it has ended.
    pub replaces_only_failed: bool,
    /// When the Job controller started it.
    pub started: Option<Start>,
}

/// When the Job controller started a Job. Two readings of the same start are equal.
#[derive(Clone, Copy, Debug, Eq)]
pub struct Start {
    /// `status.startTime`, by the clock of the Job controller.
    pub at: Timestamp,
    /// How long ago that was when it was read. This is the one figure that compares two clocks, as the deadline of a Job in Kubernetes
    /// itself does across a restart of the Job controller.
    pub ago: Duration,
}

impl PartialEq for Start {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

/// The progress of a Job, by its conditions. Where several apply, the earlier variant wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// `Complete` or `Failed`.
    Finished(Finish),
    /// `FailureTarget`.
    Failing {
        /// The condition's reason.
        reason: String,
        /// The condition's message.
        message: String,
    },
    /// `SuccessCriteriaMet`.
    Succeeding,
    /// None of these.
    Open,
}

/// How a Job is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Its pods are left alone.
    pub orphaning: bool,
}

impl JobFacts {
    /// Reads a Job when the wall clock shows `wall`, and returns the annotations that could not be read as well. `None` for an object
    /// without name or UID, which the API server never sends.
    pub fn read(job: &Job, policies: &Policies, wall: Timestamp) -> Option<(Self, Vec<BadSetting>)> {
        let Job { metadata, spec, status } = job;
        let (unset_spec, unset_status) = (JobSpec::default(), JobStatus::default());
        let (spec, status) = (spec.as_ref().unwrap_or(&unset_spec), status.as_ref().unwrap_or(&unset_status));

        let annotations = annotations(job);
        let (own, bad) = Changes::by_annotations(&annotations);
        let labels = labels(job);
        let identity = identity(JobKind::Job, metadata, &annotations)?;
        let effective = Arc::new(policies.effective(&identity.namespace, &labels, &own));
        let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
        let has_finalizer = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
        let facts = Self {
            identity,
            effective,
            own,
            labels,
            progress: progress(status.conditions.as_deref().unwrap_or_default()),
            deletion: metadata
                .deletion_timestamp
                .is_some()
                .then(|| Deletion { orphaning: has_finalizer(ORPHAN_FINALIZER) }),
            suspended: spec.suspend.unwrap_or(false),
            managed_elsewhere: spec.managed_by.as_deref().is_some_and(|by| by != KUBERNETES_JOB_CONTROLLER),
            wants_no_pods: spec.parallelism == Some(0),
            retries: retries(spec, status),
            has_finalizer: has_finalizer(FINALIZER),
            owned: metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true)),
            has_ttl: spec.ttl_seconds_after_finished.is_some(),
            replaces_only_failed: spec.pod_replacement_policy.as_deref() == Some("Failed"),
            safe_to_duplicate: annotations.get(annotation::SAFE_TO_DUPLICATE).is_some_and(|v| v == label_value::TRUE),
            started: status.start_time.as_ref().map(|time| Start { at: time.0, ago: since(time.0, wall) }),
        };
        Some((facts, bad))
    }

    /// The Job is open, not suspended and needs pods.
    pub fn should_have_pods(&self) -> bool {
        self.progress == Progress::Open && self.deletion.is_none() && !self.suspended && !self.wants_no_pods
    }
}

/// `None` for an object without name or UID, which the API server never sends.
fn identity(kind: JobKind, metadata: &ObjectMeta, annotations: &BTreeMap<String, String>) -> Option<JobIdentity> {
    Some(JobIdentity {
        kind,
        uid: metadata.uid.clone()?.into(),
        namespace: metadata.namespace.clone()?,
        name: metadata.name.clone()?,
        run_id: annotations.get(annotation::RUN_ID).map(|id| id.clone().into()),
        job_id: annotations.get(annotation::JOB_ID).map(|id| id.clone().into()),
        trace_id: annotations.get(annotation::TRACE_ID).cloned(),
    })
}

fn since(at: Timestamp, wall: Timestamp) -> Duration {
    wall.duration_since(at).try_into().unwrap_or(Duration::ZERO)
}

/// The labels of the Job's pod template, overridden by the Job's own.
fn labels(job: &Job) -> Labels {
    let template = job.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let of_template = template.and_then(|metadata| metadata.labels.as_ref());
    Labels::keep(of_template.into_iter().chain(job.metadata.labels.as_ref()).flatten())
}

/// The annotations of the Job's pod template, overridden by the Job's own.
fn annotations(job: &Job) -> BTreeMap<String, String> {
    let template = job.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let of_template = template.and_then(|metadata| metadata.annotations.as_ref());
    let own = job.metadata.annotations.as_ref();
    of_template.into_iter().chain(own).flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn progress(conditions: &[JobCondition]) -> Progress {
    let holds = |type_: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
    let words = |condition: &JobCondition| {
        (condition.reason.clone().unwrap_or_default(), condition.message.clone().unwrap_or_default())
    };
    if holds("Complete").is_some() {
        Progress::Finished(Finish::Complete)
    } else if let Some((reason, message)) = holds("Failed").map(words) {
        Progress::Finished(Finish::Failed { reason, message })
    } else if let Some((reason, message)) = holds("FailureTarget").map(words) {
        Progress::Failing { reason, message }
    } else if holds("SuccessCriteriaMet").is_some() {
        Progress::Succeeding
    } else {
        Progress::Open
    }
}

/// By the rule of the Job controller, which fails a Job with more failed pods than `backoffLimit`. Pods that it has yet to count
/// (`uncountedTerminatedPods`) have failed as well.
fn retries(spec: &JobSpec, status: &JobStatus) -> Retries {
    if spec.backoff_limit_per_index.is_some() || spec.pod_failure_policy.is_some() {
        return Retries::LeftToKubernetes;
    }
    let uncounted = status.uncounted_terminated_pods.as_ref().and_then(|pods| pods.failed.as_ref()).map_or(0, Vec::len);
    let failed = i64::from(status.failed.unwrap_or(0)) + i64::try_from(uncounted).unwrap_or(i64::MAX / 2);
    let limit = i64::from(spec.backoff_limit.unwrap_or(DEFAULT_BACKOFF_LIMIT));
    if failed < limit { Retries::Left } else { Retries::Exhausted }
}

#[cfg(test)]
mod tests;
