//! What Prometheus hears of the Observer: read when it asks.

use std::fmt;

use jobwarden_core::health::{SignalHealth, Watch};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};

use super::Observer;

impl Observer {
    /// Adds `jobwarden_watched_jobs`, `jobwarden_pods`, `jobwarden_nodes`, `jobwarden_deaf` and `jobwarden_watch_up{watch}` to a
    /// registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

impl Collector for Observer {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let deaf = self.health() == SignalHealth::NotReceiving;
        let (counts, up) = {
            let observed = self.lock();
            let counts = [
                ("jobwarden_watched_jobs", "Jobs that are watched", observed.index.jobs()),
                ("jobwarden_pods", "Worker pods that are watched", observed.index.pods()),
                ("jobwarden_nodes", "Nodes that are known", observed.index.nodes()),
                ("jobwarden_deaf", "1 while the leader's own beat does not arrive", usize::from(deaf)),
            ];
            (counts, Watch::ALL.map(|watch| (watch, observed.signals.is_up(watch))))
        };
        for (name, help, count) in counts {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let help = "1 while a watch of the API server is up";
        let mut watches = encoder.encode_descriptor("jobwarden_watch_up", help, None, MetricType::Gauge)?;
        for (watch, up) in up {
            ConstGauge::new(i64::from(up)).encode(watches.encode_family(&[("watch", watch.as_str())])?)?;
        }
        Ok(())
    }
}
