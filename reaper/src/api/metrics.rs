//! Metrics of the API.

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Metrics of the API. Clones share the same metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    refused: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Metrics {
    /// Registers the metrics in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "jobwarden_api_refused",
            "Requests to the API over TLS that were refused, by reason; unverifiable: the API server could not be asked",
            metrics.refused.clone(),
        );
        metrics
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }
}
