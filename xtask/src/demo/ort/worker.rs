//! Workers as ORT Server's Kubernetes transport starts them.
//!
//! `transport/kubernetes/src/main/kotlin/KubernetesMessageSender.kt` of ORT Server: the name of the Job is `<worker>-<run ID>-<trace ID>`,
//! its labels are `run-id`, `trace-id-0` and `ort-worker`, its container is called `main`, and the message to the worker is in the
//! environment as `runId`, `traceId` and `payload`.

use std::time::Duration;

use anyhow::Context as _;
use jobwarden_tests::job::Worker;
use k8s_openapi::api::batch::v1::Job;

pub(super) const RUN_ID: &str = "42";
pub(super) const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

/// The worker that succeeds.
pub(super) const SUCCEEDS: &str = "reporter";

/// The longest name of a Job whose pods get it as a label (RFC 1123).
const LONGEST_NAME: usize = 63;

/// A worker of the run.
pub(super) struct OrtWorker {
    kind: &'static str,
    worker: Worker,
}

impl OrtWorker {
    /// A worker of this kind for this job. It is configured with `restartPolicy: Never` and `backoffLimit: 0`, so that nobody has to wait for
    /// the retries of a worker that fails.
    pub(super) fn new(kind: &'static str, job_id: u32, mebibytes: u32, duration: Duration) -> Self {
        let name: String = format!("{kind}-{RUN_ID}-{TRACE_ID}").chars().take(LONGEST_NAME).collect();
        let worker = Worker::new(&name, mebibytes, duration)
            .label("run-id", RUN_ID)
            .label("trace-id-0", TRACE_ID)
            .label("ort-worker", kind)
            .env("runId", RUN_ID)
            .env("traceId", TRACE_ID)
            .env("payload", &format!(r#"{{"{kind}JobId":{job_id}}}"#));
        Self { kind, worker }
    }

    /// Changes what it does.
    pub(super) fn with(self, change: impl FnOnce(Worker) -> Worker) -> Self {
        Self { worker: change(self.worker), ..self }
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(super) fn name(&self) -> &str {
        self.worker.name()
    }

    pub(super) fn job(&self) -> anyhow::Result<Job> {
        let mut job = self.worker.job();
        let spec = job.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()).context("a worker has a pod")?;
        "main".clone_into(&mut spec.containers[0].name);
        Ok(job)
    }
}
