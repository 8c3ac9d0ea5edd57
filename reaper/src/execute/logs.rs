//! Reads the last log lines of the container that decided, before an outcome is recorded.
//!
//! Whatever happens, the outcome is recorded in time: with the lines, or with the reason why there are none. A node whose kubelet does not
//! answer costs a few Jobs the time that they may take, and other Jobs nothing.

use futures::AsyncReadExt as _;
use jobwarden_common::notification::{Attempt, Cause, Logs, NoLogs};
use jobwarden_core::{
    logs::{LogRules, LogSource, secret_values, source},
    plan::step::LogPlan,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use tokio::time::{Instant, timeout_at};

use super::StepRunner;

/// How far the reading of a log has come.
struct Progress {
    /// The container, once it is known.
    container: Option<String>,
    /// The API server asks the kubelet for the log.
    has_asked_node: bool,
}

impl StepRunner<'_> {
    /// The last log lines of the container that decided by `cause`, at `deadline` at the latest; `None` if the outcome is to have none.
    pub(super) async fn logs(
        &self,
        plan: LogPlan,
        attempt: Option<&Attempt>,
        cause: &Cause,
        deadline: Instant,
    ) -> Option<Logs> {
        let reader = &self.executor.logs;
        let rules = reader.rules()?;
        let attempt = attempt?;
        match plan {
            LogPlan::Omit => return None,
            LogPlan::Unavailable(why) => return Some(Logs::unavailable(cause.container.clone(), why)),
            LogPlan::Read => {}
        }
        let node = attempt.node.as_ref();
        let mut progress = Progress { container: cause.container.clone(), has_asked_node: false };
        let read = if node.is_some_and(|node| reader.is_silent(node)) {
            Err(NoLogs::NodeNotAnswering)
        } else {
            let reading = self.read_in_turn(&rules, attempt, cause, &mut progress);
            timeout_at(deadline, reading).await.unwrap_or(Err(NoLogs::TimedOut))
        };
        if let (Err(NoLogs::TimedOut), Some(node), true) = (&read, node, progress.has_asked_node) {
            reader.note_silent(node);
        }
        Some(read.unwrap_or_else(|why| {
            let (job, namespace, pod) = (&self.job.name, &self.job.namespace, &attempt.pod_name);
            tracing::info!(job, namespace, pod, why = why.as_str(), "the outcome is recorded without log lines");
            Logs::unavailable(progress.container, why)
        }))
    }

    async fn read_in_turn(
        &self,
        rules: &LogRules,
        attempt: &Attempt,
        cause: &Cause,
        progress: &mut Progress,
    ) -> Result<Logs, NoLogs> {
        let _turn = self.executor.logs.turn().await.ok_or(NoLogs::Busy)?;
        // The log is addressed by the name of the pod, which another pod may have by now.
        let pod = self.pods.get(&attempt.pod_name).await.map_err(|error| self.failed(&error, NoLogs::PodGone))?;
        if pod.metadata.uid.as_deref() != Some(attempt.pod_uid.as_str()) {
            return Err(NoLogs::PodGone);
        }
        let source = source(&pod, cause)?;
        *progress = Progress { container: Some(source.container.clone()), has_asked_node: true };
        self.read(rules, &pod, source).await
    }

    async fn read(
        &self,
        LogRules { limits, redactor }: &LogRules,
        pod: &Pod,
        source: LogSource,
    ) -> Result<Logs, NoLogs> {
        let LogSource { container, previous } = source;
        let as_figure = |figure: usize| i64::try_from(figure).ok();
        let params = LogParams {
            container: Some(container.clone()),
            previous,
            tail_lines: as_figure(limits.tail_lines()),
            limit_bytes: as_figure(limits.read_bytes()),
            ..LogParams::default()
        };
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let stream = self.pods.log_stream(name, &params).await.map_err(|error| self.failed(&error, NoLogs::NoLog))?;
        let mut log = Vec::new();
        // The kubelet may return a little more than it was asked for.
        let most = limits.read_bytes() as u64;
        let read = stream.take(most).read_to_end(&mut log).await;
        read.map_err(|error| self.failed(&kube::Error::ReadEvents(error), NoLogs::NoLog))?;
        let excerpt = limits.excerpt(&log, redactor, &secret_values(pod, &container));
        let (lines, truncated) = (excerpt.lines, excerpt.truncated);
        Ok(Logs { container: Some(container), previous, lines, truncated, unavailable: None })
    }

    /// The word for an error. The kubelet answers 400 or 404 where it does not have the log, and the API server 404 where it does not
    /// have the pod.
    fn failed(&self, error: &kube::Error, not_found: NoLogs) -> NoLogs {
        let why = match error {
            kube::Error::Api(status) if matches!(status.code, 400 | 404) => not_found,
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => NoLogs::Forbidden,
            _ => NoLogs::Failed,
        };
        let (job, namespace) = (&self.job.name, &self.job.namespace);
        let error: &dyn std::error::Error = error;
        tracing::debug!(job, namespace, error, "cannot read the log of the container that decided");
        why
    }
}

#[cfg(test)]
mod tests;
