//! Metrics of certificates.

use std::{sync::atomic::AtomicU64, time::SystemTime};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::lifetime::unix_seconds;

type Labels = [(&'static str, &'static str); 1];

/// Metrics of certificates; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    expiry: Family<Labels, Gauge<u64, AtomicU64>>,
    changes: Family<Labels, Counter>,
}

impl Metrics {
    /// Metrics that `registry` exposes.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { expiry, changes } = &metrics;
        registry.register_with_unit(
            "jobwarden_certificate_expiry_timestamp",
            "Expiry time of the certificate, in seconds since 1970",
            Unit::Seconds,
            expiry.clone(),
        );
        registry.register(
            "jobwarden_certificate_changes",
            "Number of times the certificate changed since this replica started",
            changes.clone(),
        );
        metrics
    }

    /// Records that the certificate called `name` expires at `not_after`.
    pub(super) fn expires(&self, name: &'static str, not_after: SystemTime) {
        let labels = [("certificate", name)];
        let seconds = unix_seconds(not_after);
        let before = self.expiry.get_or_create(&labels).set(seconds);
        let changes = self.changes.get_or_create(&labels);
        if before != 0 && before != seconds {
            changes.inc();
        }
    }
}
