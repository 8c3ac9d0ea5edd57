//! Metrics of reloads.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Prefix of the metrics of a process's own configuration file.
pub const CONFIG: &str = "jobwarden_config";

/// Prefix of the metrics of the file with the identity rules, where it is not the process's own configuration file.
pub const IDENTITY_CONFIG: &str = "jobwarden_identity_config";

/// Metrics of the reloads of one file; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    reloads: Family<[(&'static str, &'static str); 1], Counter>,
    last_successful: Gauge,
}

impl Metrics {
    /// Adds `<prefix>_reloads_total{result}` and `<prefix>_last_reload_successful` to a registry.
    pub fn register(registry: &mut Registry, prefix: &str) -> Self {
        let metrics = Self::default();
        let Self { reloads, last_successful } = &metrics;
        // A broken file would have kept the process from starting.
        last_successful.set(1);
        for result in [true, false].map(label) {
            // An alert on an increase needs the value 0 before the first reload.
            drop(reloads.get_or_create(&[("result", result)]));
        }
        registry.register(format!("{prefix}_reloads"), "Reloads of the configuration file, by result", reloads.clone());
        registry.register(
            format!("{prefix}_last_reload_successful"),
            "1 if the last version of the configuration file is in effect, 0 if it was rejected",
            last_successful.clone(),
        );
        metrics
    }

    pub(super) fn count(&self, successful: bool) {
        self.reloads.get_or_create(&[("result", label(successful))]).inc();
        self.last_successful.set(successful.into());
    }
}

/// The value of the label `result`.
fn label(successful: bool) -> &'static str {
    if successful { "applied" } else { "rejected" }
}
