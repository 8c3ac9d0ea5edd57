//! What Prometheus hears of certificates.

use std::{sync::atomic::AtomicU64, time::SystemTime};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::unix_seconds;

type Labels = [(&'static str, &'static str); 1];

/// Figures of the certificates; clones are the same figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    expiry: Family<Labels, Gauge<u64, AtomicU64>>,
    rotations: Family<Labels, Counter>,
}

impl Metrics {
    /// Figures that `registry` shows.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { expiry, rotations } = &metrics;
        registry.register_with_unit(
            "jobwarden_certificate_expiry_timestamp",
            "When the certificate expires, in seconds since 1970",
            Unit::Seconds,
            expiry.clone(),
        );
        registry.register(
            "jobwarden_certificate_changes",
            "How often this replica has seen the certificate change since it started",
            rotations.clone(),
        );
        metrics
    }

    /// The certificate called `name` expires at `not_after`.
    pub(super) fn expires(&self, name: &'static str, not_after: SystemTime) {
        let labels = [("certificate", name)];
        let seconds = unix_seconds(not_after);
        let before = self.expiry.get_or_create(&labels).set(seconds);
        let changes = self.rotations.get_or_create(&labels);
        if before != 0 && before != seconds {
            changes.inc();
        }
    }
}
