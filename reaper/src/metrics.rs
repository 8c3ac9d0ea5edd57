//! Metrics of executing and delivering.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Metrics of the rooms `execute` and `deliver`; clones are the same metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Steps taken, by how they went.
    pub steps: Family<StepLabels, Counter>,
    /// Outcomes recorded.
    pub outcomes: Family<OutcomeLabels, Counter>,
    /// Attempts to deliver.
    pub deliveries: Family<DeliveryLabels, Counter>,
    /// Outcomes a sink has yet to take.
    pub pending: Family<SinkLabels, Gauge>,
    /// Outcomes given up.
    pub dead: Family<SinkLabels, Gauge>,
    /// 1 while this process leads.
    pub leader: Gauge,
}

/// Labels of [`Metrics::steps`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepLabels {
    /// See [`jobwarden_core::plan::step::Step::as_str`].
    pub step: &'static str,
    /// `ok`, `aborted` (the second look, a conflict) or `error`.
    pub result: &'static str,
}

/// Labels of [`Metrics::outcomes`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// See [`jobwarden_common::notification::OutcomeKind`].
    pub kind: &'static str,
}

/// Labels of [`Metrics::deliveries`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeliveryLabels {
    /// The sink's name.
    pub sink: String,
    /// `acknowledged`, `refused`, `failed` (to be tried again) or `dead`.
    pub result: &'static str,
}

/// Labels of [`Metrics::pending`] and [`Metrics::dead`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SinkLabels {
    /// The sink's name.
    pub sink: String,
}

impl Metrics {
    /// Figures at zero, shown by `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("jobwarden_enforcement_steps", "Steps taken on Jobs and pods", metrics.steps.clone());
        registry.register("jobwarden_outcomes", "Outcomes recorded", metrics.outcomes.clone());
        registry.register("jobwarden_deliveries", "Attempts to deliver an outcome", metrics.deliveries.clone());
        registry.register("jobwarden_outcomes_pending", "Outcomes a sink has yet to take", metrics.pending.clone());
        registry.register("jobwarden_outcomes_dead", "Outcomes that were given up", metrics.dead.clone());
        registry.register("jobwarden_leader", "1 while this process leads", metrics.leader.clone());
        metrics
    }
}
