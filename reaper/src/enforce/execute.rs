//! Taking the steps of a plan.

mod bare;
mod error;
mod inquire;
mod job;
mod pod;
mod record;

use std::collections::HashSet;

use clap::ValueEnum;
use jiff::{Timestamp, Unit};
use jobwarden_common::{identity::PodUid, names::GROUP, notification::TimelineEntry};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, Client,
    api::PatchParams,
    runtime::events::{Recorder, Reporter},
};

pub use self::error::EnforceError;
use super::step::{NoticeKey, Step};
use crate::{
    evidence::{JobIdentity, JobKind},
    metrics::{Metrics, StepLabels},
    outcome::{JobOutcome, Outbox},
};

/// How a Job is failed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailWith {
    /// By the condition `FailureTarget` (Kubernetes 1.31 and later); the Job fails with our reason
    FailureTarget,
    /// By setting activeDeadlineSeconds to 1; the Job fails with the reason `DeadlineExceeded`
    ActiveDeadline,
}

/// Takes steps. Clones share everything.
#[derive(Clone)]
pub struct Executor {
    client: Client,
    events: Recorder,
    outcomes: Api<JobOutcome>,
    outbox: Outbox,
    sinks: Vec<String>,
    fail_with: FailWith,
    metrics: Metrics,
}

/// What came of the steps of one plan.
#[derive(Debug, Default)]
pub struct Report {
    /// Told by an Event.
    pub told: Vec<NoticeKey>,
    /// Told by an Event earlier, and not so any more.
    pub calmed: Vec<NoticeKey>,
    /// To be told to go silent.
    pub abandoned: Vec<PodUid>,
    /// The Job is to be forgotten.
    pub forget: bool,
    /// The first step that could not be taken, and why; those that depend on it were left out.
    pub failure: Option<EnforceError>,
}

impl Executor {
    /// Records outcomes in `namespace`, for these `sinks`; `instance` is the name under which it publishes Events.
    pub fn new(
        client: Client,
        namespace: &str,
        instance: String,
        outbox: Outbox,
        sinks: Vec<String>,
        fail_with: FailWith,
        metrics: Metrics,
    ) -> Self {
        let reporter = Reporter { controller: format!("{GROUP}/reaper"), instance: Some(instance) };
        Self {
            events: Recorder::new(client.clone(), reporter),
            outcomes: Api::namespaced(client.clone(), namespace),
            client,
            outbox,
            sinks,
            fail_with,
            metrics,
        }
    }

    /// Takes the steps in their order. After one that fails, the further steps about the same pod are left out, and those
    /// about the Job as well: they rely on the ones before.
    pub async fn run(&self, job: &JobIdentity, steps: Vec<Step>) -> Report {
        let mut walk = Walk {
            executor: self,
            job,
            jobs: Api::namespaced(self.client.clone(), &job.namespace),
            pods: Api::namespaced(self.client.clone(), &job.namespace),
            happened: Vec::new(),
            late_success: None,
            deleted: None,
            report: Report::default(),
        };
        let mut blocked = Blocked::default();
        for step in steps {
            if blocked.covers(&step) {
                continue;
            }
            let (word, pod) = (step.as_str(), step.pod().cloned());
            let result = walk.take(step).await;
            let label = result.as_ref().map_or_else(EnforceError::label, |()| "ok");
            self.metrics.steps.get_or_create(&StepLabels { step: word, result: label }).inc();
            match result {
                Ok(()) => {
                    let pod = pod.as_ref().map(tracing::field::display);
                    tracing::info!(step = word, job = %job.name, namespace = %job.namespace, pod, "enforced");
                }
                Err(error) => {
                    error.log(word, job, pod.as_ref());
                    blocked.by(pod);
                    walk.report.failure.get_or_insert(error);
                }
            }
        }
        walk.report
    }
}

/// What a failed step keeps from being taken.
#[derive(Debug, Default)]
struct Blocked {
    everything: bool,
    pods: HashSet<PodUid>,
}

impl Blocked {
    fn by(&mut self, pod: Option<PodUid>) {
        match pod {
            Some(pod) => {
                self.pods.insert(pod);
            }
            None => self.everything = true,
        }
    }

    fn covers(&self, step: &Step) -> bool {
        self.everything || step.pod().map_or(!self.pods.is_empty(), |pod| self.pods.contains(pod))
    }
}

/// One way through the steps of a plan.
struct Walk<'a> {
    executor: &'a Executor,
    job: &'a JobIdentity,
    jobs: Api<Job>,
    pods: Api<Pod>,
    /// What was done on the way, for the timelines of the outcomes that follow.
    happened: Vec<TimelineEntry>,
    /// The lost pod that turned out to have succeeded while its Job was being failed.
    late_success: Option<String>,
    /// The Job, once it was seen to be deleted: it may be gone when its outcome is recorded.
    deleted: Option<Job>,
    report: Report,
}

impl Walk<'_> {
    async fn take(&mut self, step: Step) -> Result<(), EnforceError> {
        match step {
            Step::FailJob { pod, reason, message } => self.fail_job(&pod, reason, &message).await,
            Step::EndJob { reason, message } => self.end_job(reason, &message).await,
            Step::ConfirmDeleted => self.confirm_deleted().await,
            Step::DeletePod { pod, why } => self.delete_pod(&pod, why).await,
            Step::GiveUpPod { pod, reason, message } => self.give_up_pod(&pod, reason, &message).await,
            Step::ForceDeletePod { pod } => self.force_delete_pod(&pod).await,
            Step::Record(draft) => self.record(*draft).await,
            Step::ReleaseFinalizer => self.release_finalizer().await,
            Step::DeleteJob => self.delete_job().await,
            Step::Tell(notice) => {
                self.tell(notice).await;
                Ok(())
            }
            Step::Calm(key) => {
                self.report.calmed.push(key);
                Ok(())
            }
            Step::Abandon(pod) => {
                self.report.abandoned.push(pod);
                Ok(())
            }
            Step::Forget => {
                self.report.forget = true;
                Ok(())
            }
        }
    }

    fn happened(&mut self, event: impl Into<String>) {
        self.happened.push(TimelineEntry { at: present().to_string(), event: event.into() });
    }

    fn what(&self, pod: Option<&str>) -> String {
        let namespace = &self.job.namespace;
        match (pod, self.job.kind) {
            (Some(pod), _) => format!("pod {namespace}/{pod}"),
            (None, JobKind::BarePod) => format!("pod {namespace}/{}", self.job.name),
            (None, JobKind::Job) => format!("Job {namespace}/{}", self.job.name),
        }
    }
}

/// The wall clock, in milliseconds: for people and receivers, nothing is decided by it.
fn present() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Millisecond).unwrap_or(now)
}

fn ours() -> PatchParams {
    jobwarden_serve::field_manager::patch_params()
}

#[cfg(test)]
mod tests;
