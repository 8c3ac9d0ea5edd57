//! Metrics of the agent.

use std::{
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

type Seconds = Gauge<f64, AtomicU64>;
type ByResult = Family<[(&'static str, &'static str); 1], Counter>;

/// Metrics of the agent; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: ByResult,
    sample_seconds: Seconds,
    processes_visited: Gauge,
    processes: Gauge,
    unreadable: Counter,
    pods: Gauge,
    reports: ByResult,
    acknowledged: Seconds,
}

impl Metrics {
    /// Adds `jobwarden_agent_*` to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let Self { samples, sample_seconds, processes_visited, processes, unreadable, pods, reports, acknowledged } =
            self;
        let agent = registry.sub_registry_with_prefix("jobwarden_agent");
        agent.register("samples", "Samples of the processes of the node, by result", samples.clone());
        agent.register("sample_duration_seconds", "Duration of the last sample", sample_seconds.clone());
        agent.register("processes_visited", "Processes of the node in the last sample", processes_visited.clone());
        agent.register("processes", "Processes of pods in the last sample", processes.clone());
        agent.register(
            "processes_unreadable",
            "Processes that could not be read although they existed",
            unreadable.clone(),
        );
        agent.register("pods", "Pods in memory, including ended ones", pods.clone());
        agent.register("reports", "Reports to the reaper, by result", reports.clone());
        agent.register(
            "last_acknowledged_report_timestamp_seconds",
            "When the reaper last acknowledged a report, in Unix time; 0 if never",
            acknowledged.clone(),
        );
    }

    pub(crate) fn sampled(&self, visited: usize, processes: usize, unreadable: usize, took: Duration) {
        count(&self.samples, "ok");
        self.sample_seconds.set(took.as_secs_f64());
        self.processes_visited.set(gauge(visited));
        self.processes.set(gauge(processes));
        self.unreadable.inc_by(unreadable.try_into().unwrap_or(u64::MAX));
    }

    pub(crate) fn sample_failed(&self) {
        count(&self.samples, "failed");
    }

    pub(crate) fn set_pods(&self, pods: usize) {
        self.pods.set(gauge(pods));
    }

    pub(crate) fn acknowledged(&self) {
        count(&self.reports, "acknowledged");
        // A clock before 1970 is shown as 0.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.acknowledged.set(now.as_secs_f64());
    }

    pub(crate) fn report_failed(&self) {
        count(&self.reports, "failed");
    }

    /// Failed reports so far.
    pub fn report_failures(&self) -> u64 {
        self.reports.get_or_create(&[("result", "failed")]).get()
    }
}

fn count(family: &ByResult, result: &'static str) {
    family.get_or_create(&[("result", result)]).inc();
}

fn gauge(count: usize) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
