//! Metrics of executed steps, recorded outcomes and deliveries.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Metrics of the modules `execute` and `deliver`. Clones share the same metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Executed steps by result.
    pub steps: Family<StepLabels, Counter>,
    /// Recorded outcomes.
    pub outcomes: Family<OutcomeLabels, Counter>,
    /// Outcomes that are part of coalesced ones.
    pub coalesced: Family<NamespaceLabels, Counter>,
    /// Jobs that are not followed.
    pub unfollowed: Family<NamespaceLabels, Gauge>,
    /// Delivery attempts.
    pub deliveries: Family<DeliveryLabels, Counter>,
    /// Outcomes that a sink has not acknowledged yet.
    pub pending: Family<SinkLabels, Gauge>,
    /// Outcomes that are kept and that a sink never received.
    pub dead: Family<SinkLabels, Gauge>,
    /// 1 while a sink fails and only single probes are attempted.
    pub failing: Family<SinkLabels, Gauge>,
    /// 1 while this process is the leader.
    pub leader: Gauge,
}

/// Labels of [`Metrics::steps`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepLabels {
    /// See [`jobwarden_core::plan::step::Step::as_str`].
    pub step: &'static str,
    /// `ok`, `aborted` (the second look, a conflict), `waits` (for a coalesced outcome), `refused` or `error`.
    pub result: &'static str,
}

/// Labels of [`Metrics::outcomes`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// See [`jobwarden_common::notification::OutcomeKind`].
    pub kind: &'static str,
}

/// Labels of [`Metrics::coalesced`] and [`Metrics::unfollowed`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NamespaceLabels {
    /// An enrolled namespace.
    pub namespace: String,
}

/// Labels of [`Metrics::deliveries`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeliveryLabels {
    /// The sink's name.
    pub sink: String,
    /// `acknowledged`, `refused`, `failed` (will be retried) or `dead`.
    pub result: &'static str,
}

/// Labels of [`Metrics::pending`], [`Metrics::dead`] and [`Metrics::failing`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SinkLabels {
    /// The sink's name.
    pub sink: String,
}

impl Metrics {
    /// Registers the metrics in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "jobwarden_enforcement_steps",
            "Steps executed on Jobs and pods, by result",
            metrics.steps.clone(),
        );
        registry.register("jobwarden_outcomes", "Recorded outcomes", metrics.outcomes.clone());
        registry.register(
            "jobwarden_outcomes_coalesced",
            "Outcomes beyond the share of their namespace, which are reported together",
            metrics.coalesced.clone(),
        );
        registry.register(
            "jobwarden_jobs_not_followed",
            "Jobs beyond the limit of their namespace, which are not judged",
            metrics.unfollowed.clone(),
        );
        registry.register("jobwarden_deliveries", "Delivery attempts by sink and result", metrics.deliveries.clone());
        registry.register(
            "jobwarden_outcomes_pending",
            "Outcomes that the sink has not acknowledged yet",
            metrics.pending.clone(),
        );
        registry.register(
            "jobwarden_outcomes_dead",
            "Outcomes that are kept and that the sink never received",
            metrics.dead.clone(),
        );
        registry.register(
            "jobwarden_sink_failing",
            "1 while the sink fails and only single probes are attempted",
            metrics.failing.clone(),
        );
        registry.register("jobwarden_leader", "1 while this process is the leader", metrics.leader.clone());
        metrics
    }
}
