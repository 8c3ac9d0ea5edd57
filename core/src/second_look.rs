//! The second look: the state that the live objects must have before anything is written.
//!
//! A plan is based on what the watches have delivered, which may lag behind the cluster. Before each write, the executor of a step
//! reads the Job and the pod from the API server and checks here whether the write still applies. The answer depends on these
//! objects alone.

use jiff::Timestamp;
use jobwarden_common::names::{FINALIZER, label, label_value};
use k8s_openapi::api::{
    batch::v1::{Job, JobSpec, JobStatus},
    core::v1::Pod,
};

use crate::{
    evidence::JobIdentity,
    facts::job::{KUBERNETES_JOB_CONTROLLER, job_opts_out, opts_out, replaces_only_failed, verdict, wanted_pods},
    orphans::Owner,
    plan::step::Removal,
    verdict::EndReason,
};

/// How to proceed with a step whose objects do not contradict its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proceed {
    /// Write.
    Write,
    /// Skip the write: the objects already have the state that the step would bring about.
    AlreadyDone,
}

/// Why the live objects contradict a plan.
#[allow(missing_docs, reason = "the message of each variant describes it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    #[error("it is gone")]
    Gone,
    #[error("it has finished")]
    JobFinished,
    #[error("it has not finished")]
    JobNotFinished,
    #[error("it is suspended")]
    Suspended,
    #[error("another controller manages it")]
    ManagedElsewhere,
    #[error("the Job controller has not started it")]
    NotStarted,
    #[error("it is already being failed for another reason")]
    FailingAlready,
    #[error("it is not being deleted")]
    NotDeleted,
    #[error("it is being deleted")]
    BeingDeleted,
    #[error("it has ended")]
    PodEnded,
    #[error("it has not ended")]
    PodNotEnded,
    #[error("it has an active pod")]
    HasPod,
    #[error("the Job does not control it")]
    NotOfThisJob,
    #[error("the heartbeat sidecar keeps it from starting")]
    OurFault,
    #[error("it does not carry a verdict of jobwarden")]
    WithoutOurVerdict,
    #[error("the Job controller no longer counts on it")]
    Dropped,
    #[error("the Job controller has started the Job again")]
    StartedAgain,
    #[error("it exists and has opted out")]
    OptedOut,
    #[error("its Job exists")]
    JobExists,
}

impl Contradiction {
    /// Whether nothing of the Job is to be kept: it exists, and is not ours to observe.
    pub fn forgets_job(self) -> bool {
        self == Self::OptedOut
    }
}

/// The result of the second look.
pub type Answer = Result<Proceed, Contradiction>;

/// Whether a Job may be acted on as open: it exists, has started, has neither finished nor been suspended, and no other controller
/// manages it.
pub fn open_job(live: Option<&Job>) -> Result<&Job, Contradiction> {
    let job = live.ok_or(Contradiction::Gone)?;
    let spec = job.spec.as_ref();
    let managed_by = spec.and_then(|spec| spec.managed_by.as_deref());
    if ["Complete", "Failed", "SuccessCriteriaMet"].iter().any(|type_| condition(job, type_).is_some()) {
        return Err(Contradiction::JobFinished);
    }
    // By the condition until the Job controller has resumed it and set its start time again.
    if spec.and_then(|spec| spec.suspend) == Some(true) || condition(job, "Suspended").is_some() {
        return Err(Contradiction::Suspended);
    }
    if managed_by.is_some_and(|by| by != KUBERNETES_JOB_CONTROLLER) {
        return Err(Contradiction::ManagedElsewhere);
    }
    if job.status.as_ref().is_none_or(|status| status.start_time.is_none()) {
        return Err(Contradiction::NotStarted);
    }
    Ok(job)
}

/// Whether the verdict `reason` may be written to an open Job.
pub fn fail_job(live: &Job, reason: &str) -> Answer {
    match condition(live, "FailureTarget") {
        Some(by) if by == reason => Ok(Proceed::AlreadyDone),
        Some(_) => Err(Contradiction::FailingAlready),
        None => Ok(Proceed::Write),
    }
}

/// Whether a Job may be failed for a lost pod of it: the pod has not ended, is controlled by the Job, and the Job controller counts on
/// it. A pod that is being deleted it has counted as failed, unless it waits for its end (`podReplacementPolicy`); and it does not need
/// a pod beyond those that are active.
pub fn lost_pod(identity: &JobIdentity, job: &Job, live: Option<&Pod>) -> Result<(), Contradiction> {
    let pod = live.ok_or(Contradiction::Gone)?;
    running_pod(identity, pod)?;
    if pod.metadata.deletion_timestamp.is_none() {
        return Ok(());
    }
    let (unset_spec, unset_status) = (JobSpec::default(), JobStatus::default());
    let (spec, status) = (job.spec.as_ref().unwrap_or(&unset_spec), job.status.as_ref().unwrap_or(&unset_status));
    let active = status.active.and_then(|active| u32::try_from(active).ok()).unwrap_or(0);
    if replaces_only_failed(spec) && active < wanted_pods(spec, status) {
        return Ok(());
    }
    Err(Contradiction::Dropped)
}

/// Whether an open Job without a lost pod may be failed with `reason`. An overdue one was judged by its start at `started`, which the
/// Job controller sets again when it resumes a Job.
pub fn end_job(live: &Job, reason: EndReason, started: Option<Timestamp>) -> Answer {
    let live_start = live.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|start| start.0);
    if reason == EndReason::DeadlineExceeded && live_start != started {
        return Err(Contradiction::StartedAgain);
    }
    let has_pod = live.status.as_ref().and_then(|status| status.active).is_some_and(|active| active > 0);
    match fail_job(live, reason.as_str())? {
        Proceed::Write if reason == EndReason::NotStarting && has_pod => Err(Contradiction::HasPod),
        proceed => Ok(proceed),
    }
}

/// Whether the verdict `reason` may be written to a bare pod.
pub fn fail_bare_pod(identity: &JobIdentity, live: Option<&Pod>, reason: &str) -> Answer {
    let pod = live.ok_or(Contradiction::Gone)?;
    match our_verdict(pod) {
        Some(by) if by == reason => return Ok(Proceed::AlreadyDone),
        Some(_) => return Err(Contradiction::FailingAlready),
        None => {}
    }
    running_pod(identity, pod)?;
    if pod.metadata.deletion_timestamp.is_some() {
        return Err(Contradiction::BeingDeleted);
    }
    Ok(Proceed::Write)
}

/// Whether a Job was deleted before it finished. A missing object was.
///
/// A Job that loses our label is deleted for the watch, which shows its last state *with* the label. So one that opts out by the same patch
/// seems to be gone and not to have opted out, and only its object tells.
pub fn job_deleted(live: Option<&Job>) -> Result<(), Contradiction> {
    let Some(job) = live else { return Ok(()) };
    if job_opts_out(job) {
        return Err(Contradiction::OptedOut);
    }
    if job.metadata.deletion_timestamp.is_none() {
        return Err(Contradiction::NotDeleted);
    }
    if has_finished(job) {
        return Err(Contradiction::JobFinished);
    }
    Ok(())
}

/// Whether a bare pod was deleted before it ended. A missing object was.
pub fn bare_pod_deleted(identity: &JobIdentity, live: Option<&Pod>) -> Result<(), Contradiction> {
    let Some(pod) = live else { return Ok(()) };
    running_pod(identity, pod)?;
    if pod.metadata.deletion_timestamp.is_none() {
        return Err(Contradiction::NotDeleted);
    }
    Ok(())
}

/// Whether a pod has not ended and is controlled by this Job, or is the bare pod itself.
pub fn running_pod(identity: &JobIdentity, live: &Pod) -> Result<(), Contradiction> {
    if has_ended(live) {
        return Err(Contradiction::PodEnded);
    }
    let mut owners = live.metadata.owner_references.iter().flatten();
    let is_controlled = owners.any(|owner| owner.controller == Some(true) && owner.uid == identity.uid.as_str());
    if !is_controlled && !identity.is_bare() {
        return Err(Contradiction::NotOfThisJob);
    }
    Ok(())
}

/// Whether a pod may be deleted for `why`. For a lost pod, the caller has checked the Job with [`open_job`].
pub fn delete_pod(identity: &JobIdentity, live: Option<&Pod>, why: Removal) -> Answer {
    let Some(pod) = live.filter(|pod| pod.metadata.deletion_timestamp.is_none()) else {
        return Ok(Proceed::AlreadyDone);
    };
    match (running_pod(identity, pod), why) {
        (Ok(()), Removal::Failing) if our_verdict(pod).is_none() => Err(Contradiction::WithoutOurVerdict),
        (Ok(()), Removal::Lost | Removal::JobDeleted | Removal::Failing) => Ok(Proceed::Write),
        (Err(contradiction), Removal::Lost) => Err(contradiction),
        // The garbage collector deletes the ended pods of a deleted Job, and a pod with another controller is not ours to delete. A
        // bare pod has ended.
        (Err(_), Removal::JobDeleted | Removal::Failing) => Ok(Proceed::AlreadyDone),
    }
}

/// Whether a pod may be marked Failed. A pod that is not terminating may not: its kubelet would write `Running` again, and the Job
/// controller would count wrongly.
pub fn mark_pod_failed(live: Option<&Pod>) -> Answer {
    let Some(pod) = live.filter(|pod| !has_ended(pod)) else { return Ok(Proceed::AlreadyDone) };
    if pod.metadata.deletion_timestamp.is_none() {
        return Err(Contradiction::NotDeleted);
    }
    Ok(Proceed::Write)
}

/// Whether the object of a pod may be force-deleted, without waiting for its kubelet.
pub fn force_delete_pod(live: Option<&Pod>) -> Answer {
    let Some(pod) = live else { return Ok(Proceed::AlreadyDone) };
    if pod.metadata.deletion_timestamp.is_none() {
        return Err(Contradiction::NotDeleted);
    }
    if !has_ended(pod) {
        return Err(Contradiction::PodNotEnded);
    }
    Ok(Proceed::Write)
}

/// Whether an ended pod may be deleted whose Job `owner` was deleted without it; `job` is the live Job of that name.
pub fn delete_orphan(owner: &Owner, pod: Option<&Pod>, job: Option<&Job>) -> Answer {
    let Some(pod) = pod.filter(|pod| pod.metadata.deletion_timestamp.is_none()) else {
        return Ok(Proceed::AlreadyDone);
    };
    let enrolled = pod.metadata.labels.as_ref().and_then(|labels| labels.get(label::ENROLLED));
    if opts_out(&pod.metadata) || enrolled.is_none_or(|value| value != label_value::TRUE) {
        return Err(Contradiction::OptedOut);
    }
    if Owner::of(pod).as_ref() != Some(owner) {
        return Err(Contradiction::NotOfThisJob);
    }
    if job.is_some_and(|job| job.metadata.uid.as_deref() == Some(owner.uid.as_str())) {
        return Err(Contradiction::JobExists);
    }
    if !has_ended(pod) {
        return Err(Contradiction::PodNotEnded);
    }
    Ok(Proceed::Write)
}

/// Whether a finished Job may be deleted.
pub fn delete_job(live: Option<&Job>) -> Answer {
    let Some(job) = live else { return Ok(Proceed::AlreadyDone) };
    if !has_finished(job) {
        return Err(Contradiction::JobNotFinished);
    }
    if job.metadata.deletion_timestamp.is_some() {
        return Ok(Proceed::AlreadyDone);
    }
    Ok(Proceed::Write)
}

/// The finalizers that remain on a Job without that of jobwarden; `None` if the Job does not carry it.
pub fn released_finalizers(live: Option<&Job>) -> Option<Vec<String>> {
    let finalizers = live?.metadata.finalizers.as_ref()?;
    let kept: Vec<_> = finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
    (kept.len() < finalizers.len()).then_some(kept)
}

fn has_finished(job: &Job) -> bool {
    condition(job, "Complete").is_some() || condition(job, "Failed").is_some()
}

fn has_ended(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// The reason of a condition that is true; empty if the condition has no reason.
fn condition<'a>(job: &'a Job, type_: &str) -> Option<&'a str> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True")?;
    Some(condition.reason.as_deref().unwrap_or_default())
}

/// The reason in our verdict on a bare pod.
fn our_verdict(pod: &Pod) -> Option<&str> {
    pod.status.as_ref().and_then(verdict).map(|(reason, _)| reason)
}

#[cfg(test)]
mod tests;
