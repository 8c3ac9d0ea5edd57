//! The facts of a Job, or of a bare pod in its place, read from the object.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use jobwarden_common::{
    choice::Choice,
    names::{FINALIZER, annotation, label, label_value},
};
use k8s_openapi::{
    api::batch::v1::{Job, JobCondition, JobSpec, JobStatus},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    evidence::{Finish, JobIdentity, JobKind, Retries},
    facts::membership::Members,
    policy::{BadSetting, Changes, Effective, Labels, Policies},
};

pub use self::{bare::VERDICT, controller::BackOff};
pub(crate) use self::{
    bare::verdict,
    controller::{LONGEST_BACK_OFF, back_off, replaces_only_failed, wanted_pods},
};

mod bare;
mod controller;

/// The Job controller of Kubernetes itself (`batchv1.JobControllerName`).
pub(crate) const KUBERNETES_JOB_CONTROLLER: &str = "kubernetes.io/job-controller";

/// The finalizer that asks the garbage collector to leave the pods alone (`metav1.FinalizerOrphanDependents`).
const ORPHAN_FINALIZER: &str = "orphan";

/// `backoffLimit` where a Job has none, as the API defaults it.
const DEFAULT_BACKOFF_LIMIT: i32 = 6;

/// The facts of a Job.
#[derive(Clone, Debug, PartialEq)]
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
    /// Which pods are its own.
    pub members: Members,
    /// `spec.suspend`.
    pub suspended: bool,
    /// It or its pod template opts out.
    pub opted_out: bool,
    /// `spec.managedBy` names another controller.
    pub managed_elsewhere: bool,
    /// How many pods the Job controller wants to run.
    pub wanted_pods: u32,
    /// By what the Job controller measures how long it waits before it creates another pod.
    pub back_off: BackOff,
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
    /// When the Job controller started or last resumed it; `None` before that, and while its condition `Suspended` is true:
    /// Kubernetes keeps `status.startTime` through a suspension and sets it again when it resumes the Job.
    pub started: Option<Start>,
}

/// When the Job controller started a Job. Two readings of the same start are equal.
#[derive(Clone, Copy, Debug, Eq)]
pub struct Start {
    /// `status.startTime`, by the clock of the Job controller.
    pub at: Timestamp,
    /// How long ago that was when it was read, by the clock of the API server (see [`crate::server_clock`]).
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
    /// Reads a Job when the clock of the API server shows `now`, and returns the annotations that could not be read as well. `None` for an
    /// object without name or UID, which the API server never sends.
    pub fn read(job: &Job, policies: &Policies, now: Timestamp) -> Option<(Self, Vec<BadSetting>)> {
        let Job { metadata, spec, status } = job;
        let (unset_spec, unset_status) = (JobSpec::default(), JobStatus::default());
        let (spec, status) = (spec.as_ref().unwrap_or(&unset_spec), status.as_ref().unwrap_or(&unset_status));

        let annotations = annotations(job);
        let (own, bad) = Changes::by_annotations(&annotations);
        let labels = labels(job);
        let identity = identity(JobKind::Job, metadata, &annotations)?;
        let effective = Arc::new(policies.effective(&identity.namespace, &labels, &own));
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let start_time = status.start_time.as_ref().filter(|_| condition(conditions, "Suspended").is_none());
        let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
        let has_finalizer = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
        let facts = Self {
            identity,
            effective,
            own,
            labels,
            progress: progress(conditions),
            deletion: metadata
                .deletion_timestamp
                .is_some()
                .then(|| Deletion { orphaning: has_finalizer(ORPHAN_FINALIZER) }),
            members: members(spec),
            suspended: spec.suspend.unwrap_or(false),
            opted_out: job_opts_out(job),
            managed_elsewhere: spec.managed_by.as_deref().is_some_and(|by| by != KUBERNETES_JOB_CONTROLLER),
            wanted_pods: wanted_pods(spec, status),
            back_off: controller::measure(spec, status),
            retries: retries(spec, status),
            has_finalizer: has_finalizer(FINALIZER),
            owned: metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true)),
            has_ttl: spec.ttl_seconds_after_finished.is_some(),
            replaces_only_failed: replaces_only_failed(spec),
            safe_to_duplicate: annotations.get(annotation::SAFE_TO_DUPLICATE).is_some_and(|v| v == label_value::TRUE),
            started: start_time.map(|time| Start { at: time.0, ago: since(time.0, now) }),
        };
        Some((facts, bad))
    }

    /// The Job is open, not suspended and needs pods.
    pub fn should_have_pods(&self) -> bool {
        self.progress == Progress::Open && self.deletion.is_none() && !self.suspended && self.wanted_pods > 0
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

fn since(at: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(at).try_into().unwrap_or(Duration::ZERO)
}

/// Whether a Job or its pod template opts out.
pub(crate) fn job_opts_out(job: &Job) -> bool {
    let template = job.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    opts_out(&job.metadata) || template.is_some_and(opts_out)
}

/// As admission reads it: the label comes first, and other injectors' users may write an annotation.
pub(crate) fn opts_out(metadata: &ObjectMeta) -> bool {
    let written = [&metadata.labels, &metadata.annotations].map(|map| map.as_ref()?.get(label::INJECT));
    written.into_iter().flatten().find_map(|word| Choice::of(word)) == Some(Choice::Out)
}

/// By the selector that the API server has generated, or by the Job's own.
fn members(spec: &JobSpec) -> Members {
    match &spec.selector {
        Some(selector) if spec.manual_selector == Some(true) => Members::BySelector(Box::new(selector.clone())),
        _ => Members::ByControllerUid,
    }
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

/// The condition of this type, if it is true.
fn condition<'a>(conditions: &'a [JobCondition], type_: &str) -> Option<&'a JobCondition> {
    conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True")
}

fn progress(conditions: &[JobCondition]) -> Progress {
    let holds = |type_: &str| condition(conditions, type_);
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

/// By the rule of the Job controller, which fails a Job with more failed pods than `backoffLimit`.
fn retries(spec: &JobSpec, status: &JobStatus) -> Retries {
    if spec.backoff_limit_per_index.is_some() || spec.pod_failure_policy.is_some() {
        return Retries::LeftToKubernetes;
    }
    let limit = i64::from(spec.backoff_limit.unwrap_or(DEFAULT_BACKOFF_LIMIT));
    if i64::from(controller::failed(status)) < limit { Retries::Left } else { Retries::Exhausted }
}

#[cfg(test)]
mod tests;
