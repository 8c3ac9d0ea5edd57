//! How far an outcome has come, written to its status.

use std::time::Duration;

use jiff::Timestamp;
use jobwarden_core::outcome::OutcomeName;
use jobwarden_serve::field_manager::patch_params;
use kube::{Api, api::Patch};
use serde_json::json;
use tokio::time::{interval, sleep};

use crate::outbox::{JobOutcome, JobOutcomeStatus, Outbox, SinkState, SinkStatus};

/// How long to wait before a status is written again that could not be.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How often outcomes for sinks that are configured no more are looked for.
const ORPHANS_EVERY: Duration = Duration::from_mins(10);
/// After how long an outcome for a sink that is configured no more is given up: it may be back with the next change of the
/// configuration.
const ORPHANED_AFTER: Duration = Duration::from_hours(24);

/// The outcomes and their statuses.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) outcomes: Api<JobOutcome>,
    pub(super) outbox: Outbox,
    /// The names of the configured sinks: what an outcome without a status is addressed to.
    pub(super) sinks: Vec<String>,
}

impl Post {
    /// Writes how far the outcome has come with one sink, trying until the API server takes it: what was delivered must
    /// not be delivered again.
    pub(super) async fn write(&self, name: &OutcomeName, sink: &SinkStatus) {
        while let Err(error) = self.try_write(name, sink).await {
            let conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
            if !conflict {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(outcome = %name, sink = sink.name, error, "cannot write the status of an outcome; trying again");
                sleep(WRITE_AGAIN_AFTER).await;
            }
        }
    }

    /// Other sinks write their parts of the same list, so it is read first and replaced as it was read.
    async fn try_write(&self, name: &OutcomeName, sink: &SinkStatus) -> Result<(), kube::Error> {
        let Some(outcome) = self.outcomes.get_opt(name.as_str()).await? else { return Ok(()) };
        let untried = || self.sinks.iter().map(|sink| SinkStatus::untried(sink)).collect();
        let sinks = outcome.status.map_or_else(untried, |status| status.sinks);
        let status = JobOutcomeStatus::of(with(sinks, sink));
        let patch = json!({ "metadata": { "resourceVersion": outcome.metadata.resource_version }, "status": status });
        let params = patch_params();
        match self.outcomes.patch_status(name.as_str(), &params, &Patch::Merge(patch)).await {
            Ok(patched) => {
                self.outbox.note(patched);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives up, in time, what sinks were to get that are configured no more.
    pub(super) async fn give_up_orphans(&self) {
        let mut ticks = interval(ORPHANS_EVERY);
        loop {
            ticks.tick().await;
            let now = Timestamp::now();
            let orphans = self.outbox.select(|name, entry| {
                let age = Duration::try_from(now.duration_since(entry.created_at)).unwrap_or_default();
                let orphan = |sink: &&SinkStatus| sink.state == SinkState::Pending && !self.sinks.contains(&sink.name);
                let sinks: Vec<_> = entry.sinks.iter().flatten().filter(orphan).cloned().collect();
                (age >= ORPHANED_AFTER && !sinks.is_empty()).then(|| (name.clone(), sinks))
            });
            for (name, sinks) in orphans {
                for sink in sinks {
                    tracing::warn!(outcome = %name, sink = sink.name, "given up: there is no such sink any more");
                    let last_error = Some("the sink is not configured any more".to_owned());
                    self.write(&name, &SinkStatus { state: SinkState::Dead, last_error, ..sink }).await;
                }
            }
        }
    }
}

/// `sinks` with the entry of one of them replaced, or added.
fn with(mut sinks: Vec<SinkStatus>, sink: &SinkStatus) -> Vec<SinkStatus> {
    match sinks.iter_mut().find(|known| known.name == sink.name) {
        Some(known) => known.clone_from(sink),
        None => sinks.push(sink.clone()),
    }
    sinks
}
