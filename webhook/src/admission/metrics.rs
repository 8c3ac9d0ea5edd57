//! Metrics of admission.

use std::time::Duration;

use jobwarden_inject::patch::Effect;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::kind::Kind;

/// Bucket bounds in seconds: from the time of a small pod to the timeout of the API server.
const BUCKETS: [f64; 10] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Metrics of admission; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    jobs: Histogram,
    pods: Histogram,
    requests: Family<Labels<3>, Counter>,
}

/// The result of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Admitted(Effect),
    Denied,
    Malformed,
    /// Rejected unread: the server is at its limit.
    Busy,
}

impl Metrics {
    /// Metrics that `registry` exposes.
    pub fn register(registry: &mut Registry) -> Self {
        let duration: Family<Labels<1>, Histogram> = Family::new_with_constructor(|| Histogram::new(BUCKETS));
        // Looked up once, not on every request.
        let [jobs, pods] = [Kind::Job, Kind::Pod].map(|kind| duration.get_or_create_owned(&[("kind", kind.as_str())]));
        let requests = Family::default();
        registry.register_with_unit(
            "jobwarden_admission_duration",
            "Time to answer an admission request after its body was received",
            Unit::Seconds,
            duration,
        );
        registry.register("jobwarden_admission_requests", "Admission requests by outcome", Family::clone(&requests));
        Self { jobs, pods, requests }
    }

    pub(super) fn observe(&self, kind: Kind, duration: Duration) {
        let Self { jobs, pods, requests: _ } = self;
        match kind {
            Kind::Job => jobs,
            Kind::Pod => pods,
        }
        .observe(duration.as_secs_f64());
    }

    pub(super) fn count(&self, kind: Kind, outcome: Outcome) {
        let (outcome, reason) = match outcome {
            Outcome::Admitted(Effect::Skipped(skip)) => (Effect::Skipped(skip).as_str(), skip.as_str()),
            Outcome::Admitted(effect @ Effect::WithoutSidecar(harm)) => (effect.as_str(), harm.as_str()),
            Outcome::Admitted(effect) => (effect.as_str(), ""),
            Outcome::Denied => ("denied", ""),
            Outcome::Malformed => ("malformed", ""),
            Outcome::Busy => ("busy", ""),
        };
        self.requests.get_or_create(&[("kind", kind.as_str()), ("outcome", outcome), ("reason", reason)]).inc();
    }
}
