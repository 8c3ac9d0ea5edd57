//! Workers as ORT Server's Kubernetes transport starts them.
//!
//! `transport/kubernetes/src/main/kotlin/KubernetesMessageSender.kt` of ORT Server: the name of the Job is `<worker>-<run ID>-<trace ID>`,
//! its labels are `run-id`, `trace-id-0` and `ort-worker`, its container is called `main`, and the message to the worker is in the
//! environment as `runId`, `traceId` and `payload`.

use std::time::Duration;

use jobwarden_common::names::label;
use k8s_openapi::api::batch::v1::Job;

use crate::job::Worker;

/// The ID of the run that all workers belong to.
pub const RUN_ID: &str = "42";
/// The trace ID of the run.
pub const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
/// The name of the worker's container.
pub const CONTAINER: &str = "main";

/// The longest name of a Job whose pods get it as a label (RFC 1123).
const LONGEST_NAME: usize = 63;

/// A worker of the run.
#[derive(Clone, Debug)]
pub struct OrtWorker {
    kind: &'static str,
    worker: Worker,
}

impl OrtWorker {
    /// A worker of this kind for this job. It is configured with `restartPolicy: Never` and `backoffLimit: 0`, so that nobody has to wait for
    /// the retries of a worker that fails.
    pub fn new(kind: &'static str, job_id: u32, mebibytes: u32, duration: Duration) -> Self {
        let worker = Self::without_run(kind, job_id, mebibytes, duration);
        worker.with(|worker| worker.label("run-id", RUN_ID).env("runId", RUN_ID))
    }

    /// The same without the run ID, which ORT Server never starts.
    pub fn without_run(kind: &'static str, job_id: u32, mebibytes: u32, duration: Duration) -> Self {
        let name: String = format!("{kind}-{RUN_ID}-{TRACE_ID}").chars().take(LONGEST_NAME).collect();
        let worker = Worker::new(&name, mebibytes, duration)
            .label("trace-id-0", TRACE_ID)
            .label(label::ORT_WORKER, kind)
            .env("traceId", TRACE_ID)
            .env("payload", &format!(r#"{{"{kind}JobId":{job_id}}}"#));
        Self { kind, worker }
    }

    /// Changes what it does.
    #[must_use]
    pub fn with(self, change: impl FnOnce(Worker) -> Worker) -> Self {
        Self { worker: change(self.worker), ..self }
    }

    /// The kind of worker.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The Job's name.
    pub fn name(&self) -> &str {
        self.worker.name()
    }

    /// The Job.
    pub fn job(&self) -> Job {
        let mut job = self.worker.job();
        let pod = job.spec.as_mut().and_then(|spec| spec.template.spec.as_mut());
        CONTAINER.clone_into(&mut pod.expect("a worker has a pod").containers[0].name);
        job
    }
}
