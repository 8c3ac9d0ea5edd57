//! Writes the delivery status of outcomes.

use std::time::Duration;

use jobwarden_core::outcome::OutcomeName;
use jobwarden_serve::field_manager::patch_params;
use kube::{Api, api::Patch};
use serde_json::json;
use tokio::time::{interval, sleep};

use crate::{
    clock,
    outbox::{JobOutcome, JobOutcomeStatus, Outbox, SinkState, SinkStatus},
};

/// The pause before a failed write of a status is retried.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How often to look for pending deliveries to sinks that are not configured any more.
const UNCONFIGURED_CHECK_INTERVAL: Duration = Duration::from_mins(10);
/// The age of an outcome at which its delivery to a sink that is not configured any more expires. Until then the sink may return
/// with the next change of the configuration.
const UNCONFIGURED_EXPIRE_AFTER: Duration = Duration::from_hours(24);

/// Writes the status of outcomes.
#[derive(Debug)]
pub(super) struct StatusWriter {
    pub(super) outcomes: Api<JobOutcome>,
    pub(super) outbox: Outbox,
    /// The names of the configured sinks, which an outcome without a status is delivered to.
    pub(super) sinks: Vec<String>,
}

impl StatusWriter {
    /// Writes the delivery status for one sink. Retries until the API server accepts it, because a lost status would repeat the
    /// delivery.
    pub(super) async fn write(&self, name: &OutcomeName, sink: &SinkStatus) {
        while let Err(error) = self.try_write(name, sink).await {
            let conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
            if !conflict {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(outcome = %name, sink = sink.name, error, "cannot write the status of a JobOutcome; retrying");
                sleep(RETRY_AFTER).await;
            }
        }
    }

    /// Other workers write their entries of the same list, so the list is read first and replaced at its resourceVersion.
    async fn try_write(&self, name: &OutcomeName, sink: &SinkStatus) -> Result<(), kube::Error> {
        let Some(outcome) = self.outcomes.get_opt(name.as_str()).await? else { return Ok(()) };
        let untried = || self.sinks.iter().map(|sink| SinkStatus::untried(sink)).collect();
        let sinks = outcome.status.map_or_else(untried, |status| status.sinks);
        let status = JobOutcomeStatus::of(with(sinks, sink));
        let patch = json!({ "metadata": { "resourceVersion": outcome.metadata.resource_version }, "status": status });
        match self.outcomes.patch_status(name.as_str(), &patch_params(), &Patch::Merge(patch)).await {
            Ok(patched) => {
                self.outbox.note(patched);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Expires pending deliveries to sinks that are not configured any more.
    pub(super) async fn expire_unconfigured_sinks(&self) {
        let mut ticks = interval(UNCONFIGURED_CHECK_INTERVAL);
        loop {
            ticks.tick().await;
            let now = clock::now();
            let expired = self.outbox.select(|name, entry| {
                let age = Duration::try_from(now.duration_since(entry.created_at)).unwrap_or_default();
                let is_unconfigured =
                    |sink: &&SinkStatus| sink.state == SinkState::Pending && !self.sinks.contains(&sink.name);
                let sinks: Vec<_> = entry.sinks.iter().flatten().filter(is_unconfigured).cloned().collect();
                (age >= UNCONFIGURED_EXPIRE_AFTER && !sinks.is_empty()).then(|| (name.clone(), sinks))
            });
            for (name, sinks) in expired {
                for sink in sinks {
                    tracing::warn!(outcome = %name, sink = sink.name, "delivery expired: the sink is not configured any more");
                    let last_error = Some("the sink is not configured any more".to_owned());
                    self.write(&name, &SinkStatus { state: SinkState::Dead, last_error, ..sink }).await;
                }
            }
        }
    }
}

/// `sinks` with the entry of `sink` replaced or added.
fn with(mut sinks: Vec<SinkStatus>, sink: &SinkStatus) -> Vec<SinkStatus> {
    match sinks.iter_mut().find(|known| known.name == sink.name) {
        Some(known) => known.clone_from(sink),
        None => sinks.push(sink.clone()),
    }
    sinks
}
