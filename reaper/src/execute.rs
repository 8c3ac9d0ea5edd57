//! Executes the steps of a plan: reads the live object, asks the second look, writes.

mod bare_pod;
mod clock;
mod coalesce;
mod error;
mod find_cause;
mod job;
mod log_reader;
mod logs;
mod pod;
mod record;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use clap::ValueEnum;
use jobwarden_common::{names::GROUP, notification::TimelineEntry};
use jobwarden_core::{
    evidence::{JobIdentity, JobKind},
    logs::LogRules,
    plan::{sequence::StepSequence, step::Step},
    reconcile::StepReport,
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, Client,
    runtime::events::{Recorder, Reporter},
};

pub(crate) use self::coalesce::{Ended, Waiting};
pub use self::error::ExecuteError;
use self::log_reader::LogReader;
use crate::{
    deliver::Routes,
    metrics::{Metrics, StepLabels},
    outbox::{JobOutcome, Outbox},
};

/// How many steps of a plan the timeline of an outcome has at most.
const MAX_DONE: usize = 32;

/// How long everything may take that is looked up for one outcome.
const ENRICH_WITHIN: Duration = Duration::from_secs(5);

/// How to fail a Job.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailWith {
    /// By the condition `FailureTarget` (Kubernetes 1.31 and later); the Job fails with our reason
    FailureTarget,
    /// By setting activeDeadlineSeconds to 1; the Job fails with the reason `DeadlineExceeded`
    ActiveDeadline,
}

/// Executes steps. Clones share the same state.
#[derive(Clone)]
pub struct Executor {
    client: Client,
    events: Recorder,
    outcomes: Api<JobOutcome>,
    outbox: Outbox,
    routes: Routes,
    fail_with: FailWith,
    metrics: Metrics,
    logs: Arc<LogReader>,
}

impl Executor {
    /// Records outcomes in `namespace` for the sinks that `routes` chooses. `instance` is the reporting instance of Events.
    pub fn new(
        client: Client,
        namespace: &str,
        instance: String,
        outbox: Outbox,
        routes: Routes,
        fail_with: FailWith,
        metrics: Metrics,
    ) -> Self {
        let reporter = Reporter { controller: format!("{GROUP}/reaper"), instance: Some(instance) };
        Self {
            events: Recorder::new(client.clone(), reporter),
            outcomes: Api::namespaced(client.clone(), namespace),
            client,
            outbox,
            routes,
            fail_with,
            metrics,
            logs: Arc::default(),
        }
    }

    /// Sets what of a log an outcome has; `None`, as at first, for nothing.
    pub fn set_log_rules(&self, rules: Option<LogRules>) {
        self.logs.set_rules(rules);
    }

    /// What publishes Events in the name of this process.
    pub fn events(&self) -> &Recorder {
        &self.events
    }

    /// Executes the steps in order. [`StepSequence`] says which steps a failed step prevents.
    pub async fn run(&self, job: &JobIdentity, steps: Vec<Step>) -> StepReport {
        self.run_steps(job, steps).await.0
    }

    /// Like [`run`](Self::run); also returns the error of the first failed step.
    async fn run_steps(&self, job: &JobIdentity, steps: Vec<Step>) -> (StepReport, Option<ExecuteError>) {
        let mut runner = StepRunner {
            executor: self,
            job,
            jobs: Api::namespaced(self.client.clone(), &job.namespace),
            pods: Api::namespaced(self.client.clone(), &job.namespace),
            done: VecDeque::new(),
            late_success: None,
            deleted: None,
            report: StepReport::default(),
        };
        let mut sequence = StepSequence::new(steps);
        let mut failure = None;
        while let Some(step) = sequence.next_step() {
            let (name, pod, writes) = (step.as_str(), step.pod().cloned(), step.writes_workload());
            let result = runner.execute(step).await;
            let label = result.as_ref().map_or_else(ExecuteError::label, |()| "ok");
            self.metrics.steps.get_or_create(&StepLabels { step: name, result: label }).inc();
            match result {
                Ok(()) => {
                    let pod = pod.as_ref().map(tracing::field::display);
                    tracing::info!(step = name, job = %job.name, namespace = %job.namespace, pod, "step executed");
                }
                Err(error) => {
                    error.log(name, job, pod.as_ref());
                    runner.report.refused.extend(error.refusal().filter(|_| writes).map(|text| (pod.clone(), text)));
                    sequence.failed(pod);
                    failure.get_or_insert(error);
                }
            }
        }
        runner.report.failed = sequence.has_failed();
        (runner.report, failure)
    }
}

/// Executes the steps of one plan.
struct StepRunner<'a> {
    executor: &'a Executor,
    job: &'a JobIdentity,
    jobs: Api<Job>,
    pods: Api<Pod>,
    /// What the steps have done so far, for the timelines of the outcomes that are recorded later.
    done: VecDeque<TimelineEntry>,
    /// The name of the lost pod that succeeded while its Job was being failed.
    late_success: Option<String>,
    /// The deleted Job as last read. It may be gone when its outcome is recorded.
    deleted: Option<Job>,
    report: StepReport,
}

impl StepRunner<'_> {
    async fn execute(&mut self, step: Step) -> Result<(), ExecuteError> {
        match step {
            Step::FailJob { pod, reason, message } => self.fail_job(&pod, reason, &message).await,
            Step::EndJob { reason, started, message } => self.end_job(reason, started, &message).await,
            Step::ConfirmDeleted => self.confirm_deleted().await,
            Step::ConfirmNotOurFault { pod } => self.confirm_not_our_fault(&pod).await,
            Step::DeletePod { pod, why } => self.delete_pod(&pod, why).await,
            Step::MarkPodFailed { pod, reason, message } => self.mark_pod_failed(&pod, reason, &message).await,
            Step::ForceDeletePod { pod } => self.force_delete_pod(&pod).await,
            Step::Record(draft) => Box::pin(self.record(*draft)).await,
            Step::ReleaseFinalizer => self.release_finalizer().await,
            Step::DeleteJob => self.delete_job().await,
            Step::RecordEvent(notice) => {
                self.record_event(notice).await;
                Ok(())
            }
            Step::ClearNotice(key) => {
                self.report.cleared.push(key);
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

    /// Adds an entry to the timeline. Of the steps for thousands of pods, only the latest are kept: every outcome gets them all.
    fn log_done(&mut self, event: impl Into<String>) {
        if self.done.len() == MAX_DONE {
            self.done.pop_front();
        }
        self.done.push_back(TimelineEntry { at: clock::wall_clock().to_string(), event: event.into() });
    }

    /// The kind and name of the pod or Job, for errors.
    fn describe(&self, pod: Option<&str>) -> String {
        let namespace = &self.job.namespace;
        match (pod, self.job.kind) {
            (Some(pod), _) => format!("pod {namespace}/{pod}"),
            (None, JobKind::BarePod) => format!("pod {namespace}/{}", self.job.name),
            (None, JobKind::Job) => format!("Job {namespace}/{}", self.job.name),
        }
    }
}

#[cfg(test)]
mod tests;
