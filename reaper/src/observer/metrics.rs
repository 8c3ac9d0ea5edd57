//! Metrics of the observer, collected at each scrape.

use std::fmt;

use jobwarden_core::health::{SignalHealth, Watch};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::Observer;

impl Observer {
    /// Registers `jobwarden_watched_jobs`, `jobwarden_pods`, `jobwarden_nodes`, `jobwarden_deaf`, `jobwarden_watch_up{watch}`,
    /// `jobwarden_foreign_pods_total{mismatch}` and `jobwarden_watch_inconsistencies_total{watch,found_by}`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
        registry.register(
            "jobwarden_watch_inconsistencies",
            "How often a watch had not delivered what the API server holds, and everything was listed again",
            self.0.counters.inconsistencies.clone(),
        );
    }
}

impl Collector for Observer {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let not_receiving = self.health() == SignalHealth::NotReceiving;
        let (counts, foreign, up) = {
            let observed = self.lock();
            let counts = [
                ("jobwarden_watched_jobs", "Watched Jobs", observed.index.jobs()),
                ("jobwarden_pods", "Watched worker pods", observed.index.pods()),
                ("jobwarden_nodes", "Known nodes", observed.index.nodes()),
                (
                    "jobwarden_deaf",
                    "1 while the leader does not receive its own beat through the Service",
                    usize::from(not_receiving),
                ),
            ];
            let foreign = observed.index.foreign_pods().by_mismatch();
            (counts, foreign, Watch::ALL.map(|watch| (watch, observed.signals.is_up(watch))))
        };
        for (name, help, count) in counts {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let help = "Pods that named a Job as their controller without being one of its pods, and were ignored";
        let name = "jobwarden_foreign_pods";
        let mut foreign_pods = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (mismatch, count) in foreign {
            ConstCounter::new(count).encode(foreign_pods.encode_family(&[("mismatch", mismatch.as_str())])?)?;
        }
        let help = "1 while the watch on the API server is up";
        let mut watches = encoder.encode_descriptor("jobwarden_watch_up", help, None, MetricType::Gauge)?;
        for (watch, up) in up {
            ConstGauge::new(i64::from(up)).encode(watches.encode_family(&[("watch", watch.as_str())])?)?;
        }
        Ok(())
    }
}
