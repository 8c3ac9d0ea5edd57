//! The delivery worker of one sink: attempts what the [queue](super::queue) starts, and writes what came of it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use jiff::Timestamp;
use jobwarden_common::api::SinkReport;
use jobwarden_core::outcome::OutcomeName;
use tokio::time::{Instant, sleep_until};

use super::{
    breaker::BreakerState,
    message::Fault,
    queue::{Attempted, Next, Queue},
    reports::Reports,
    sink::{Failure, Sink},
    status::StatusWriter,
};
use crate::{
    clock,
    metrics::{DeliveryLabels, Metrics, SinkLabels},
    outbox::{Entry, JobOutcome, SinkState, SinkStatus, shorten},
};

/// The maximum length of a recorded error in bytes.
const MAX_ERROR_BYTES: usize = 512;
/// The most deliveries that are given up at a time, so that the end of a long outage does not flood the API server.
const GIVE_UP_AT_ONCE: usize = 4;

/// Delivers to one sink.
pub(super) struct Worker {
    sink: Arc<Sink>,
    statuses: Arc<StatusWriter>,
    reports: Reports,
    metrics: Metrics,
    queue: Queue,
    /// The last attempt of each delivery that failed. Of these only the first and a new error are written.
    tried: HashMap<OutcomeName, SinkStatus>,
    /// What is being marked as given up.
    giving_up: HashSet<OutcomeName>,
    /// The outcomes that this sink has given up and that are kept.
    dead: HashSet<OutcomeName>,
    /// The last error that was one of the sink as a whole.
    sink_error: Option<String>,
}

/// What has ended.
enum Ended {
    /// An attempt, and the status after it.
    Attempt(OutcomeName, SinkStatus, Option<Failure>),
    /// An outcome for which the format has no message is marked as given up.
    Unsent(OutcomeName),
    /// A delivery is marked as given up.
    GivenUp(OutcomeName),
}

impl Worker {
    pub(super) fn new(sink: Arc<Sink>, statuses: Arc<StatusWriter>, reports: Reports, metrics: Metrics) -> Self {
        let queue = Queue::new(sink.concurrency, sink.expire_after, Instant::now(), clock::now());
        let (tried, dead, giving_up, sink_error) = (HashMap::new(), HashSet::new(), HashSet::new(), None);
        Self { sink, statuses, reports, metrics, queue, tried, giving_up, dead, sink_error }
    }

    /// Delivers until the future is dropped.
    pub(super) async fn run(mut self) {
        let mut feed = self.statuses.outbox.feed();
        let (mut attempts, mut given_up) = (FuturesUnordered::new(), FuturesUnordered::new());
        loop {
            while let Ok(name) = feed.try_recv() {
                self.update(&name);
            }
            let now = Instant::now();
            let room = GIVE_UP_AT_ONCE.saturating_sub(given_up.len());
            for name in self.queue.expired(now, clock::now(), room) {
                given_up.extend(self.give_up(name));
            }
            for name in self.queue.start(now) {
                match self.attempt(&name) {
                    Some(attempt) => attempts.push(attempt),
                    // Settled or deleted just now.
                    None => {
                        self.finish(&name, Attempted::Unsent);
                    }
                }
            }
            self.report();
            let wake = if given_up.len() < GIVE_UP_AT_ONCE { self.queue.wake_at() } else { self.queue.next_start() };
            tokio::select! {
                Some(name) = feed.recv() => self.update(&name),
                Some(ended) = attempts.next() => {
                    let name = self.ended(ended);
                    given_up.extend(name.and_then(|name| self.give_up(name)));
                }
                Some(ended) = given_up.next() => {
                    self.ended(ended);
                }
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }

    /// Takes note of an outcome that is new, has changed or is deleted.
    fn update(&mut self, name: &OutcomeName) {
        let entry = self.statuses.outbox.get(name);
        let status = entry.as_ref().and_then(|entry| entry.sinks.iter().find(|sink| sink.name == self.sink.name));
        self.dead.remove(name);
        match (&entry, status) {
            (Some(entry), Some(status)) if status.state == SinkState::Pending => {
                let since = status.pending_since.unwrap_or(entry.created_at);
                let (namespace, attempts) = (entry.namespace(), status.attempts);
                if !self.giving_up.contains(name) {
                    let namespace = Arc::clone(namespace);
                    self.queue.track(name.clone(), namespace, since, attempts, Instant::now(), clock::now());
                }
            }
            (_, status) => {
                if status.is_some_and(|status| status.state == SinkState::Dead) {
                    self.dead.insert(name.clone());
                }
                self.queue.forget(name);
                self.tried.remove(name);
            }
        }
    }

    /// The outcome and its status for this sink, if it is still pending.
    fn pending(&self, name: &OutcomeName) -> Option<(Arc<JobOutcome>, SinkStatus)> {
        let Entry { sinks, outcome, .. } = self.statuses.outbox.get(name)?;
        let is_pending = |sink: &&SinkStatus| sink.name == self.sink.name && sink.state == SinkState::Pending;
        Some((outcome?, sinks.iter().find(is_pending)?.clone()))
    }

    /// One attempt. A status is written before it ends if the state or the error has changed.
    fn attempt(&self, name: &OutcomeName) -> Option<impl Future<Output = Ended> + use<>> {
        let (outcome, written) = self.pending(name)?;
        let before = self.tried.get(name).cloned().unwrap_or_else(|| written.clone());
        let (sink, statuses, metrics) = (Arc::clone(&self.sink), Arc::clone(&self.statuses), self.metrics.clone());
        let name = name.clone();
        Some(async move {
            let result = match sink.format.message(&outcome) {
                Ok(message) => sink.send(&message, clock::now()).await,
                Err(unsent) => {
                    let last_error = Some(shortened(&unsent.to_string()));
                    let status = SinkStatus { state: SinkState::Dead, last_error, ..before };
                    write_dead(&sink, &statuses, &metrics, &name, &status).await;
                    return Ended::Unsent(name);
                }
            };
            let status = after(before, result.as_ref().err(), clock::now());
            let result_label = if status.state == SinkState::Pending { "failed" } else { status.state.as_str() };
            metrics.deliveries.get_or_create(&DeliveryLabels { sink: sink.name.clone(), result: result_label }).inc();
            log(&sink, &name, &outcome, &status);
            if status.state != SinkState::Pending || status.last_error != written.last_error {
                statuses.write(&name, &status, None).await;
            }
            Ended::Attempt(name, status, result.err())
        })
    }

    /// Takes note of what has ended. Returns the delivery that has to be given up now, if it is one.
    fn ended(&mut self, ended: Ended) -> Option<OutcomeName> {
        let (name, status, failure) = match ended {
            Ended::Attempt(name, status, failure) => (name, status, failure),
            Ended::Unsent(name) => {
                self.finish(&name, Attempted::Unsent);
                return None;
            }
            Ended::GivenUp(name) => {
                self.giving_up.remove(&name);
                return None;
            }
        };
        let attempted = failure.as_ref().map_or(Attempted::Done, |failure| Attempted::Failed {
            fault: failure.fault,
            retry_after: failure.retry_after,
        });
        // Any other answer shows that the receiver is there.
        self.sink_error =
            failure.filter(|failure| failure.fault == Fault::Sink).map(|failure| shortened(&failure.error));
        if status.state == SinkState::Pending {
            self.tried.insert(name.clone(), status);
        } else {
            self.tried.remove(&name);
        }
        match self.finish(&name, attempted) {
            Next::Dead => Some(name),
            Next::Retry(_) | Next::Settled => None,
        }
    }

    fn finish(&mut self, name: &OutcomeName, attempted: Attempted) -> Next {
        self.queue.finished(name, attempted, Instant::now(), clock::now(), fastrand::f64())
    }

    /// Writes that the delivery is given up.
    fn give_up(&mut self, name: OutcomeName) -> Option<impl Future<Output = Ended> + use<>> {
        let (_, written) = self.pending(&name)?;
        self.giving_up.insert(name.clone());
        let mut status = self.tried.remove(&name).unwrap_or(written);
        status.state = SinkState::Dead;
        if status.last_error.is_none() {
            status.last_error.clone_from(&self.sink_error);
        }
        let (sink, statuses, metrics) = (Arc::clone(&self.sink), Arc::clone(&self.statuses), self.metrics.clone());
        Some(async move {
            write_dead(&sink, &statuses, &metrics, &name, &status).await;
            Ended::GivenUp(name)
        })
    }

    /// Updates the metrics and the report of the sink.
    fn report(&self) {
        let (pending, dead, breaker) = (self.queue.pending(), self.dead.len(), self.queue.breaker());
        let labels = SinkLabels { sink: self.sink.name.clone() };
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.pending.get_or_create(&labels).set(gauge(pending));
        self.metrics.dead.get_or_create(&labels).set(gauge(dead));
        let since = match breaker {
            BreakerState::Closed => None,
            BreakerState::Open { since, .. } => Some(since),
        };
        self.metrics.failing.get_or_create(&labels).set(i64::from(since.is_some()));
        let now = Instant::now();
        let report = SinkReport {
            name: self.sink.name.clone(),
            transport: self.sink.transport().to_owned(),
            state: if since.is_some() { "failing" } else { "ok" }.to_owned(),
            since: since.map(|since| since.to_string()),
            pending,
            in_flight: self.queue.in_flight(),
            dead,
            oldest: self.queue.oldest().map(|oldest| oldest.to_string()),
            last_error: self.sink_error.clone(),
            next_attempt_in: self.queue.next_start().map(|at| at.saturating_duration_since(now).as_secs()),
        };
        self.reports.put(report);
    }
}

/// Writes that a delivery is given up, and passes it to the sink for dead letters, if there is one.
async fn write_dead(sink: &Sink, statuses: &StatusWriter, metrics: &Metrics, name: &OutcomeName, status: &SinkStatus) {
    let result = SinkState::Dead.as_str();
    metrics.deliveries.get_or_create(&DeliveryLabels { sink: sink.name.clone(), result }).inc();
    let (error, next) = (status.last_error.as_deref(), sink.dead_letter_to.as_deref());
    tracing::warn!(outcome = %name, sink = sink.name, attempts = status.attempts, error, dead_letter_to = next, "delivery given up");
    let next = next.map(|next| SinkStatus { pending_since: Some(clock::now()), ..SinkStatus::untried(next) });
    statuses.write_dead(name, status, next.as_ref()).await;
}

/// The status after an attempt that ended at `now`.
fn after(before: SinkStatus, failure: Option<&Failure>, now: Timestamp) -> SinkStatus {
    let state = match failure.map(|failure| failure.fault) {
        None => SinkState::Acknowledged,
        Some(Fault::Refusal) => SinkState::Refused,
        Some(Fault::Sink | Fault::Message) => SinkState::Pending,
    };
    SinkStatus {
        state,
        last_error: failure.map(|failure| shortened(&failure.error)),
        attempts: before.attempts.saturating_add(1),
        last_attempt_at: Some(now),
        acknowledged_at: (state == SinkState::Acknowledged).then_some(now),
        ..before
    }
}

fn log(sink: &Sink, name: &OutcomeName, outcome: &JobOutcome, status: &SinkStatus) {
    let SinkStatus { attempts, last_error, .. } = status;
    let (run_id, job) = (outcome.spec.run_id.as_ref().map(tracing::field::display), &outcome.spec.job_name);
    if status.state == SinkState::Acknowledged {
        tracing::info!(outcome = %name, sink = sink.name, attempts, run_id, job, "delivered");
    } else {
        let state = status.state.as_str();
        tracing::warn!(outcome = %name, sink = sink.name, attempts, run_id, job, state, error = last_error, "not delivered");
    }
}

/// An error, truncated to [`MAX_ERROR_BYTES`].
fn shortened(error: &str) -> String {
    let mut text = error.to_owned();
    shorten(&mut text, MAX_ERROR_BYTES);
    text
}

#[cfg(test)]
mod tests;
