//! Metrics of verdicts and guards, collected at each scrape.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Weak},
};

use jobwarden_core::guard::{BreakerReport, Counted};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::Enforcer;

impl Enforcer {
    /// Registers metrics of verdicts and guards in `registry`.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.register_collector(Box::new(ReconcilerMetrics(Arc::downgrade(self))));
    }
}

struct ReconcilerMetrics(Weak<Enforcer>);

impl fmt::Debug for ReconcilerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReconcilerMetrics")
    }
}

impl Collector for ReconcilerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Some(enforcer) = self.0.upgrade() else { return Ok(()) };
        let (jobs, decisions, held, breaker) = {
            let reconciler = enforcer.reconciler();
            (
                reconciler.jobs_by_verdict().clone(),
                reconciler.decisions_by_row().clone(),
                reconciler.held_by_guard().clone(),
                reconciler.breaker(),
            )
        };
        let help = "Jobs by verdict; only the leader judges";
        let mut family = encoder.encode_descriptor("jobwarden_jobs", help, None, MetricType::Gauge)?;
        for (verdict, jobs) in jobs {
            ConstGauge::new(gauge(jobs)).encode(family.encode_family(&[("verdict", verdict)])?)?;
        }
        let help = "How often the deciding row of the decision table of a Job or pod changed to this row";
        let mut family = encoder.encode_descriptor("jobwarden_verdicts", help, None, MetricType::Counter)?;
        for (row, decisions) in decisions {
            ConstCounter::new(decisions).encode(family.encode_family(&[("row", row.as_str())])?)?;
        }
        let help = "Jobs whose loss is held, by guard";
        let mut family = encoder.encode_descriptor("jobwarden_held_jobs", help, None, MetricType::Gauge)?;
        for (guard, jobs) in held {
            ConstGauge::new(gauge(jobs)).encode(family.encode_family(&[("guard", guard)])?)?;
        }
        encode_breaker(&mut encoder, &breaker)
    }
}

fn encode_breaker(encoder: &mut DescriptorEncoder<'_>, breaker: &BreakerReport) -> fmt::Result {
    let help = "Nodes that carry workers, by whether anything is received from them";
    let mut nodes = encoder.encode_descriptor("jobwarden_worker_nodes", help, None, MetricType::Gauge)?;
    let heard = breaker.nodes.saturating_sub(breaker.silent);
    for (state, count) in [("heard", heard), ("silent", breaker.silent)] {
        ConstGauge::new(gauge(count)).encode(nodes.encode_family(&[("state", state)])?)?;
    }
    let help = "Nodes and Jobs whose losses the breaker holds, by what it counts";
    let mut held = encoder.encode_descriptor("jobwarden_breaker_held", help, None, MetricType::Gauge)?;
    for counted in [Counted::SilentNodes, Counted::ProcessGoneNodes, Counted::HeartbeatLostJobs] {
        let of_kind = breaker.domains.iter().filter(|domain| domain.counted == counted);
        let units: BTreeSet<_> = of_kind.flat_map(|domain| &domain.held).map(|(unit, _)| unit).collect();
        ConstGauge::new(gauge(units.len())).encode(held.encode_family(&[("counted", counted.as_str())])?)?;
    }
    Ok(())
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
