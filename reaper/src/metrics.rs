//! What Prometheus hears of enforcing and delivering.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Figures of the rooms `enforce` and `deliver`; clones are the same figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Steps taken, by how they went.
    pub steps: Family<StepLabels, Counter>,
    /// Outcomes recorded.
    pub outcomes: Family<OutcomeLabels, Counter>,
    /// Jobs by the verdict on them, as last looked at by the leader.
    pub jobs: Family<VerdictLabels, Gauge>,
    /// How often a row of the table has come to decide over a Job or pod.
    pub verdicts: Family<RowLabels, Counter>,
    /// Jobs with a lost verdict whose writes a guard holds now.
    pub held: Family<GuardLabels, Gauge>,
    /// Jobs that are lost or silent, as the breaker counts them.
    pub silent: Gauge,
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
    /// See [`crate::enforce::Step::as_str`].
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

/// Labels of [`Metrics::jobs`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VerdictLabels {
    /// See [`jobwarden_core::explain::Summary::verdict`].
    pub verdict: &'static str,
}

/// Labels of [`Metrics::verdicts`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RowLabels {
    /// See [`jobwarden_core::verdict::Row`].
    pub row: &'static str,
}

/// Labels of [`Metrics::held`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GuardLabels {
    /// See [`jobwarden_core::guard::Hold::as_str`].
    pub guard: &'static str,
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
        registry.register("jobwarden_jobs", "Jobs by the leader's verdict on them", metrics.jobs.clone());
        let help = "How often a row of the table has come to decide over a Job or pod";
        registry.register("jobwarden_verdicts", help, metrics.verdicts.clone());
        registry.register(
            "jobwarden_held_jobs",
            "Jobs with a lost verdict whose writes a guard holds",
            metrics.held.clone(),
        );
        registry.register(
            "jobwarden_breaker_jobs",
            "Jobs that are silent, lost or were lost a moment ago, as the breaker counts them",
            metrics.silent.clone(),
        );
        registry.register("jobwarden_deliveries", "Attempts to deliver an outcome", metrics.deliveries.clone());
        registry.register("jobwarden_outcomes_pending", "Outcomes a sink has yet to take", metrics.pending.clone());
        registry.register("jobwarden_outcomes_dead", "Outcomes that were given up", metrics.dead.clone());
        registry.register("jobwarden_leader", "1 while this process leads", metrics.leader.clone());
        metrics
    }
}
