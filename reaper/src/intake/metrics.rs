//! Metrics of beats and observations.

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::rejection::Rejection;

/// Metrics of the intake. Clones share the same metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) beats: Counter,
    pub(super) stop_replies: Counter,
    pub(super) beats_rejected: RejectionCounter,
    pub(super) observations: Counter,
    pub(super) observations_rejected: RejectionCounter,
}

/// Rejected requests by reason.
#[derive(Clone, Debug, Default)]
pub(super) struct RejectionCounter(Family<[(&'static str, &'static str); 1], Counter>);

impl RejectionCounter {
    pub(super) fn count(&self, rejection: &Rejection) {
        self.of(rejection.as_str()).inc();
    }

    fn of(&self, reason: &'static str) -> Counter {
        self.0.get_or_create_owned(&[("reason", reason)])
    }

    #[cfg(test)]
    pub(super) fn total(&self, reason: &'static str) -> u64 {
        self.of(reason).get()
    }
}

impl Metrics {
    /// Registers `jobwarden_beats_total`, `jobwarden_beats_told_to_stop_total`, `jobwarden_beats_refused_total{reason}`,
    /// `jobwarden_observations_total` and `jobwarden_observations_refused_total{reason}`.
    pub fn register(&self, registry: &mut Registry) {
        let Self { beats, stop_replies, beats_rejected, observations, observations_rejected } = self;
        registry.register("jobwarden_beats", "Beats accepted from sidecars", beats.clone());
        registry.register(
            "jobwarden_beats_told_to_stop",
            "Replies with the command stop, sent to sidecars of abandoned pods",
            stop_replies.clone(),
        );
        registry.register(
            "jobwarden_beats_refused",
            "Beat requests that were rejected, by reason",
            beats_rejected.0.clone(),
        );
        registry.register("jobwarden_observations", "Reports accepted from node agents", observations.clone());
        registry.register(
            "jobwarden_observations_refused",
            "Reports that were rejected, by reason",
            observations_rejected.0.clone(),
        );
    }
}
