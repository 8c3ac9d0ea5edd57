//! What Prometheus hears of beats and observations.

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::refusal::Refusal;

/// Figures of the intake; clones are the same figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) beats: Counter,
    pub(super) beats_told_to_stop: Counter,
    pub(super) beats_refused: Refused,
    pub(super) observations: Counter,
    pub(super) observations_refused: Refused,
}

/// Refusals by their reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused(Family<[(&'static str, &'static str); 1], Counter>);

impl Refused {
    pub(super) fn count(&self, refusal: &Refusal) {
        self.of(refusal.as_str()).inc();
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
    /// Adds `jobwarden_beats_total`, `jobwarden_beats_told_to_stop_total`, `jobwarden_beats_refused_total{reason}` and the same of observations to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let Self { beats, beats_told_to_stop, beats_refused, observations, observations_refused } = self;
        registry.register("jobwarden_beats", "LastBeat taken from sidecars", beats.clone());
        registry.register(
            "jobwarden_beats_told_to_stop",
            "Replies that told the sidecar of a given-up pod to go silent",
            beats_told_to_stop.clone(),
        );
        registry.register("jobwarden_beats_refused", "Requests with beats that were refused", beats_refused.0.clone());
        registry.register("jobwarden_observations", "Reports taken from node agents", observations.clone());
        registry.register(
            "jobwarden_observations_refused",
            "Reports that were refused",
            observations_refused.0.clone(),
        );
    }
}
