//! Records outcomes, and publishes Events.

use std::collections::BTreeMap;

use jobwarden_common::{
    identity::label_value,
    names::{label, reason},
    notification::{OutcomeData, OutcomeKind, TimelineEntry},
};
use jobwarden_core::{
    evidence::JobKind,
    plan::{
        add_late_success,
        step::{Draft, Notice, PodRef},
    },
};
use jobwarden_serve::field_manager::post_params;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};
use tokio::time::Instant;

use super::{ENRICH_WITHIN, ExecuteError, StepRunner, clock::wall_clock};
use crate::{
    metrics::OutcomeLabels,
    outbox::{Admission, JobOutcome, MAX_NOTE_BYTES, shorten},
};

impl StepRunner<'_> {
    pub(super) async fn record(&mut self, draft: Draft) -> Result<(), ExecuteError> {
        let Draft { name, mut data, labels, logs } = draft;
        let at = wall_clock();
        match self.executor.outbox.admit(&self.job.uid, &name, &data, at) {
            Admission::Record => {}
            Admission::Covered => return Ok(()),
            Admission::Waits { is_new } => {
                if is_new {
                    self.record_event(coalesced(&data)).await;
                }
                return Err(ExecuteError::Waits(name));
            }
        }
        let deadline = Instant::now() + ENRICH_WITHIN;
        // The container that decided is known from the status of the pod: Events only say who ended it.
        let (attempt, cause) = (data.attempt.clone(), data.cause.clone());
        let reading = self.logs(logs, attempt.as_ref(), &cause, deadline);
        let (lines, ()) = tokio::join!(reading, self.find_cause(&mut data, deadline));
        data.logs = lines;
        if let (Some(pod), OutcomeKind::Lost) = (&self.late_success, data.kind) {
            add_late_success(&mut data, pod);
        }
        data.timeline.extend(self.done.iter().cloned());
        let event = format!("outcome {} with reason {}, by {}", data.kind, data.reason, data.decided_by.row);
        data.timeline.push(TimelineEntry { at: at.to_string(), event });
        let (kind, reason) = (data.kind, data.reason.clone());

        let recipients = self.executor.routes.recipients(&name, &data, &labels);
        let mut outcome = JobOutcome::record(&name, data, recipients, at);
        outcome.metadata.labels = Some(selectable_labels(&outcome));
        let what = || format!("the outcome {name}");
        let recorded = match self.executor.outcomes.create(&post_params(), &outcome).await {
            Ok(recorded) => {
                self.executor.metrics.outcomes.get_or_create(&OutcomeLabels { kind: kind.as_str() }).inc();
                tracing::info!(
                    outcome = %name, kind = %kind, reason, job = %self.job.name, namespace = %self.job.namespace,
                    run_id = self.job.run_id.as_ref().map(tracing::field::display), "outcome recorded"
                );
                recorded
            }
            // The outcome exists already; its spec is immutable.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let existing = self.executor.outcomes.get(name.as_str()).await;
                existing.map_err(|source| ExecuteError::api("read", what(), source))?
            }
            Err(source) => return Err(ExecuteError::api("record", what(), source)),
        };
        self.executor.outbox.note(recorded);
        Ok(())
    }

    /// Publishes an Event. A failure is logged only, because no other step depends on the Event.
    pub(super) async fn record_event(&mut self, notice: Notice) {
        let key = notice.key();
        let mut note = notice.message;
        shorten(&mut note, MAX_NOTE_BYTES);
        let is_recovery = notice.reason == reason::HEARTBEAT_RESUMED;
        let event = Event {
            type_: if is_recovery { EventType::Normal } else { EventType::Warning },
            reason: notice.reason.to_owned(),
            note: Some(note),
            action: "Judge".to_owned(),
            secondary: notice
                .pod
                .filter(|_| !self.job.is_bare())
                .map(|pod| self.reference("v1", "Pod", &pod.name, pod.uid.as_str())),
        };
        let (api_version, kind) = match self.job.kind {
            JobKind::Job => ("batch/v1", "Job"),
            JobKind::BarePod => ("v1", "Pod"),
        };
        let job = self.reference(api_version, kind, &self.job.name, self.job.uid.as_str());
        match self.executor.events.publish(&event, &job).await {
            Ok(()) => self.report.notified.push(key),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(job = %self.job.name, namespace = %self.job.namespace, reason = notice.reason, error, "cannot publish the Event");
            }
        }
    }

    fn reference(&self, api_version: &str, kind: &str, name: &str, uid: &str) -> ObjectReference {
        ObjectReference {
            api_version: Some(api_version.to_owned()),
            kind: Some(kind.to_owned()),
            name: Some(name.to_owned()),
            namespace: Some(self.job.namespace.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        }
    }
}

/// The Event about an outcome that is recorded together with others.
fn coalesced(data: &OutcomeData) -> Notice {
    let OutcomeData { kind, reason, message, .. } = data;
    let message = format!(
        "The outcome {kind} ({reason}) is reported together with others, because the namespace has more than its share: {message}"
    );
    let pod =
        data.attempt.as_ref().map(|attempt| PodRef { uid: attempt.pod_uid.clone(), name: attempt.pod_name.clone() });
    Notice { pod, reason: reason::OUTCOMES_COALESCED, message }
}

/// The labels by which users select the outcomes of a run or job.
fn selectable_labels(outcome: &JobOutcome) -> BTreeMap<String, String> {
    let run = outcome.spec.run_id.as_ref().map(|id| (label::RUN_ID, id.as_str()));
    let job = outcome.spec.job_id.as_ref().map(|id| (label::JOB_ID, id.as_str()));
    run.into_iter().chain(job).map(|(key, id)| (key.to_owned(), label_value(id).into_owned())).collect()
}
