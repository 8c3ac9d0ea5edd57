//! The delivery worker of one sink.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use jiff::Timestamp;
use jobwarden_core::{outcome::OutcomeName, turns::start_next};
use tokio::time::{Instant, sleep_until};

use super::{
    http::{Answer, AttemptError, HttpSink},
    schedule::{Next, next_attempt},
    status::StatusWriter,
};
use crate::{
    clock,
    metrics::{DeliveryLabels, Metrics, SinkLabels},
    outbox::{Entry, JobOutcome, SinkState, SinkStatus, shorten},
};

/// Concurrent attempts per sink.
const CONCURRENCY: usize = 8;
/// The most of them for the outcomes of one namespace, so that another namespace does not wait for the timeouts of its attempts.
const SHARE: usize = 6;
/// The maximum length of a recorded error in bytes.
const MAX_ERROR_BYTES: usize = 512;

/// Delivers to one sink, several outcomes concurrently: of the namespace of which the fewest are in flight, the oldest first.
pub(super) struct Worker {
    sink: Arc<HttpSink>,
    statuses: Arc<StatusWriter>,
    metrics: Metrics,
    tracked: HashMap<OutcomeName, Tracked>,
    /// The namespaces of the deliveries in flight.
    in_flight: HashMap<OutcomeName, String>,
}

/// The progress of a delivery in this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tracked {
    Due(Instant),
    InFlight,
}

/// A pending delivery.
struct Pending {
    name: OutcomeName,
    outcome: Arc<JobOutcome>,
    status: SinkStatus,
}

impl Worker {
    pub(super) fn new(sink: Arc<HttpSink>, statuses: Arc<StatusWriter>, metrics: Metrics) -> Self {
        Self { sink, statuses, metrics, tracked: HashMap::new(), in_flight: HashMap::new() }
    }

    pub(super) async fn run(mut self) {
        let mut changes = self.statuses.outbox.subscribe();
        let mut flights = FuturesUnordered::new();
        loop {
            changes.borrow_and_update();
            let pending = self.collect_pending();
            let wake = self.next_due(flights.len());
            for ready in self.take_due(pending, CONCURRENCY.saturating_sub(flights.len())) {
                flights.push(attempt(Arc::clone(&self.sink), Arc::clone(&self.statuses), self.metrics.clone(), ready));
            }
            tokio::select! {
                // The channel stays open because the worker holds the outbox.
                _ = changes.changed() => {}
                Some((name, next)) = flights.next() => {
                    self.in_flight.remove(&name);
                    match next {
                        Some(at) => self.tracked.insert(name, Tracked::Due(instant(at))),
                        None => self.tracked.remove(&name),
                    };
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// The pending deliveries, oldest outcome first. Starts to track new ones and stops tracking finished ones.
    fn collect_pending(&mut self) -> Vec<Pending> {
        let sink = &self.sink.name;
        let mut pending = self.statuses.outbox.select(|name, entry| pending(sink, name, entry));
        pending.sort_by(|one, other| {
            let age = |pending: &Pending| pending.outcome.spec.created_at;
            age(one).cmp(&age(other)).then_with(|| one.name.cmp(&other.name))
        });
        let names: HashSet<_> = pending.iter().map(|pending| pending.name.clone()).collect();
        self.tracked.retain(|name, tracked| *tracked == Tracked::InFlight || names.contains(name));
        for pending in &pending {
            if !self.tracked.contains_key(&pending.name) {
                let due = match self.next(pending) {
                    Next::At(at) => instant(at),
                    // One more attempt before it expires: a new leader does not rely on another leader's clock alone.
                    Next::Expire => Instant::now(),
                };
                self.tracked.insert(pending.name.clone(), Tracked::Due(due));
            }
        }
        self.count(&names);
        pending
    }

    fn next(&self, pending: &Pending) -> Next {
        let created = pending.outcome.spec.created_at;
        next_attempt(created, &pending.status, self.sink.expire_after, clock::now(), fastrand::f64())
    }

    /// When the next delivery becomes due; `None` if all slots are in use or none becomes due.
    fn next_due(&self, in_flight: usize) -> Option<Instant> {
        let now = Instant::now();
        let due = self.tracked.values().filter_map(|tracked| match tracked {
            Tracked::Due(at) if *at > now => Some(*at),
            _ => None,
        });
        due.min().filter(|_| in_flight < CONCURRENCY)
    }

    /// The due deliveries of `pending` that start now, at most `room`.
    fn take_due(&mut self, pending: Vec<Pending>, room: usize) -> Vec<Pending> {
        let now = Instant::now();
        let tracked = &self.tracked;
        let is_due = |pending: &Pending| matches!(tracked.get(&pending.name), Some(Tracked::Due(at)) if *at <= now);
        let mut due: Vec<_> = pending.into_iter().filter(is_due).map(Some).collect();
        let mut running = BTreeMap::new();
        for namespace in self.in_flight.values() {
            *running.entry(namespace.clone()).or_default() += 1;
        }
        let waiting = due.iter().flatten().map(|pending| pending.outcome.spec.namespace.as_str());
        let ready: Vec<_> =
            start_next(waiting, &running, room, SHARE).into_iter().filter_map(|index| due[index].take()).collect();
        for pending in &ready {
            self.tracked.insert(pending.name.clone(), Tracked::InFlight);
            self.in_flight.insert(pending.name.clone(), pending.outcome.spec.namespace.clone());
        }
        ready
    }

    fn count(&self, pending: &HashSet<OutcomeName>) {
        let sink = &self.sink.name;
        let is_dead = |status: &SinkStatus| status.name == *sink && status.state == SinkState::Dead;
        let dead =
            self.statuses.outbox.select(|_, entry| entry.sinks.iter().flatten().any(is_dead).then_some(())).len();
        let labels = SinkLabels { sink: sink.clone() };
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.pending.get_or_create(&labels).set(gauge(pending.len()));
        self.metrics.dead.get_or_create(&labels).set(gauge(dead));
    }
}

/// The pending delivery of an outcome to `sink`, if there is one. An outcome without a status is pending for every sink.
fn pending(sink: &str, name: &OutcomeName, entry: &Entry) -> Option<Pending> {
    let outcome = entry.outcome.clone()?;
    let status = match &entry.sinks {
        None => SinkStatus::untried(sink),
        Some(sinks) => sinks.iter().find(|known| known.name == sink && known.state == SinkState::Pending)?.clone(),
    };
    Some(Pending { name: name.clone(), outcome, status })
}

/// Makes one attempt and writes its result. Returns when the next attempt is due, if there is one.
async fn attempt(
    sink: Arc<HttpSink>,
    statuses: Arc<StatusWriter>,
    metrics: Metrics,
    pending: Pending,
) -> (OutcomeName, Option<Timestamp>) {
    let Pending { name, outcome, status } = pending;
    let result = sink.post(&outcome, clock::now()).await;
    let now = clock::now();
    let mut status = after(status, &result, now);
    let mut next = None;
    if status.state == SinkState::Pending {
        match next_attempt(outcome.spec.created_at, &status, sink.expire_after, now, fastrand::f64()) {
            Next::At(at) => next = Some(at),
            Next::Expire => status.state = SinkState::Dead,
        }
    }
    let result = match status.state {
        SinkState::Pending => "failed",
        state => state.as_str(),
    };
    metrics.deliveries.get_or_create(&DeliveryLabels { sink: sink.name.clone(), result }).inc();
    let (attempts, error) = (status.attempts, status.last_error.as_deref());
    let (run_id, job) = (outcome.spec.run_id.as_ref().map(tracing::field::display), &outcome.spec.job_name);
    if status.state == SinkState::Acknowledged {
        tracing::info!(outcome = %name, sink = sink.name, attempts, run_id, job, "delivered");
    } else {
        tracing::warn!(outcome = %name, sink = sink.name, attempts, run_id, job, result, error, "not delivered");
    }
    statuses.write(&name, &status).await;
    (name, next)
}

/// The status after an attempt that ended at `now`.
fn after(before: SinkStatus, result: &Result<Answer, AttemptError>, now: Timestamp) -> SinkStatus {
    let (state, last_error) = match result {
        Ok(Answer::Acknowledged) => (SinkState::Acknowledged, None),
        Ok(Answer::Refused) => (SinkState::Refused, Some("the receiver responded with 410 Gone".to_owned())),
        Err(error) => (SinkState::Pending, Some(error_text(error))),
    };
    SinkStatus {
        state,
        last_error,
        attempts: before.attempts.saturating_add(1),
        last_attempt_at: Some(now),
        acknowledged_at: (state == SinkState::Acknowledged).then_some(now),
        ..before
    }
}

/// An error with its causes, truncated to [`MAX_ERROR_BYTES`].
fn error_text(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = jobwarden_serve::logs::with_causes(error);
    shorten(&mut text, MAX_ERROR_BYTES);
    text
}

/// The time `at` on the monotonic clock of timers.
fn instant(at: Timestamp) -> Instant {
    let pause = Duration::try_from(at.duration_since(clock::now())).unwrap_or_default();
    Instant::now() + pause
}

#[cfg(test)]
mod tests;
