//! Writes the delivery status of outcomes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jobwarden_common::names::reason;
use jobwarden_core::outcome::OutcomeName;
use jobwarden_serve::field_manager::patch_params;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Resource as _,
    api::Patch,
    runtime::events::{Event, EventType, Recorder},
};
use serde_json::json;
use tokio::time::{interval, sleep};

use crate::{
    clock,
    outbox::{JobOutcome, JobOutcomeStatus, MAX_NOTE_BYTES, Outbox, SinkState, SinkStatus, shorten},
};

/// The pause before a failed write of a status is retried.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How often to look for pending deliveries to sinks that are not configured any more.
const UNCONFIGURED_CHECK_INTERVAL: Duration = Duration::from_mins(10);
/// The age of an outcome at which its delivery to a sink that is not configured any more is given up. Until then the sink may return
/// with the next change of the configuration.
const UNCONFIGURED_EXPIRE_AFTER: Duration = Duration::from_hours(24);

/// Writes the status of outcomes, and publishes Events about deliveries that are given up.
pub(super) struct StatusWriter {
    pub(super) outcomes: Api<JobOutcome>,
    pub(super) events: Recorder,
    pub(super) outbox: Outbox,
}

impl StatusWriter {
    /// Writes the delivery status for one sink, and that of `next`, the sink that receives the dead letter, unless it has one. Retries
    /// until the API server accepts it, because a lost status would repeat the delivery.
    pub(super) async fn write(&self, name: &OutcomeName, sink: &SinkStatus, next: Option<&SinkStatus>) {
        // What the watch has delivered is nearly always current.
        let mut known = self.outbox.get(name).and_then(|entry| entry.outcome);
        while let Err(error) = self.try_write(name, known.take(), sink, next).await {
            let conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
            if !conflict {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(outcome = %name, sink = sink.name, error, "cannot write the status of a JobOutcome; retrying");
                sleep(RETRY_AFTER).await;
            }
        }
    }

    /// Other workers write their entries of the same list, so the list is replaced at the resourceVersion at which it was read.
    async fn try_write(
        &self,
        name: &OutcomeName,
        known: Option<Arc<JobOutcome>>,
        sink: &SinkStatus,
        next: Option<&SinkStatus>,
    ) -> Result<(), kube::Error> {
        let outcome = match known {
            Some(known) => known,
            None => match self.outcomes.get_opt(name.as_str()).await? {
                Some(read) => Arc::new(read),
                None => return Ok(()),
            },
        };
        let mut sinks = outcome.status.as_ref().map(|status| status.sinks.clone()).unwrap_or_default();
        match sinks.iter_mut().find(|known| known.name == sink.name) {
            Some(known) => known.clone_from(sink),
            None => sinks.push(sink.clone()),
        }
        let receives = |next: &&SinkStatus| outcome.sinks().iter().any(|known| known.name == next.name);
        sinks.extend(next.filter(|next| !receives(next)).cloned());
        let status = JobOutcomeStatus::of(sinks);
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

    /// Writes that the delivery to one sink is given up, as [`Self::write`] does, and publishes an Event about it.
    pub(super) async fn write_dead(&self, name: &OutcomeName, sink: &SinkStatus, next: Option<&SinkStatus>) {
        // Once it is settled, only its status is cached.
        let uid = self.outbox.get(name).and_then(|entry| entry.outcome?.metadata.uid.clone());
        self.write(name, sink, next).await;
        self.publish_dead(name, uid, sink, next).await;
    }

    /// Publishes an Event on the outcome about a delivery that was given up. A failure is logged only: the status says the same.
    async fn publish_dead(
        &self,
        name: &OutcomeName,
        uid: Option<String>,
        sink: &SinkStatus,
        next: Option<&SinkStatus>,
    ) {
        let next = next.map(|next| format!("; it goes to the sink {} instead", next.name)).unwrap_or_default();
        let error = sink.last_error.as_deref().unwrap_or("no attempt was possible");
        let mut note = format!(
            "The delivery to the sink {} was given up after {} attempts: {error}{next}",
            sink.name, sink.attempts
        );
        shorten(&mut note, MAX_NOTE_BYTES);
        let event = Event {
            type_: EventType::Warning,
            reason: reason::DELIVERY_GIVEN_UP.to_owned(),
            note: Some(note),
            action: "Deliver".to_owned(),
            secondary: None,
        };
        let outcome = ObjectReference {
            api_version: Some(JobOutcome::api_version(&()).into_owned()),
            kind: Some(JobOutcome::kind(&()).into_owned()),
            name: Some(name.to_string()),
            namespace: self.outcomes.namespace().map(str::to_owned),
            uid,
            ..ObjectReference::default()
        };
        if let Err(error) = self.events.publish(&event, &outcome).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(outcome = %name, sink = sink.name, error, "cannot publish the Event");
        }
    }

    /// Gives up pending deliveries to sinks that are not among the `configured` any more.
    pub(super) async fn expire_unconfigured_sinks(&self, configured: &BTreeSet<String>) {
        let mut ticks = interval(UNCONFIGURED_CHECK_INTERVAL);
        loop {
            ticks.tick().await;
            let now = clock::now();
            let expired = self.outbox.select(|name, entry| {
                let age = Duration::try_from(now.duration_since(entry.created_at)).unwrap_or_default();
                let is_unconfigured =
                    |sink: &&SinkStatus| sink.state == SinkState::Pending && !configured.contains(&sink.name);
                let sinks: Vec<_> = entry.sinks.iter().filter(is_unconfigured).cloned().collect();
                (age >= UNCONFIGURED_EXPIRE_AFTER && !sinks.is_empty()).then(|| (name.clone(), sinks))
            });
            for (name, sinks) in expired {
                for sink in sinks {
                    tracing::warn!(outcome = %name, sink = sink.name, "delivery given up: the sink is not configured any more");
                    let last_error = Some("the sink is not configured any more".to_owned());
                    let dead = SinkStatus { state: SinkState::Dead, last_error, ..sink };
                    self.write_dead(&name, &dead, None).await;
                }
            }
        }
    }
}
