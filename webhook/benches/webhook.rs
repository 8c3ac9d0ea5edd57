//! The admission handler alone, from the bytes of an `AdmissionReview` to the bytes of the response: a minimal, a typical and a large
//! pod.

#[path = "../examples/load/reviews.rs"]
mod reviews;

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use http::Request;
use http_body_util::Full;
use jobwarden_common::names::admission_route;
use jobwarden_inject::{
    config::IdentityConfig,
    endpoint::Endpoint,
    identity::Rules,
    patch::{
        Settings,
        on_failure::OnFailure,
        sidecar::{PullPolicy, Sidecar},
    },
};
use jobwarden_serve::accept::Limits;
use jobwarden_webhook::{
    admission::{Admission, Metrics},
    limits::LimitRanges,
};
use mimalloc::MiMalloc;
use prometheus_client::registry::Registry;
use tokio::{runtime::Builder, sync::watch};

/// The webhook's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn settings() -> Settings {
    Settings {
        rules: Rules::new(IdentityConfig::default()),
        finalizer: true,
        unreachable_grace: Duration::from_hours(1),
        on_failure: OnFailure::Auto,
        sidecar: Sidecar {
            image: "registry.example.com/jobwarden-sidecar:1".to_owned(),
            pull_policy: PullPolicy::IfNotPresent,
            image_pull_secrets: Vec::new(),
            cpu: "10m".parse().expect("a quantity"),
            memory: "16Mi".parse().expect("a quantity"),
            namespaces: std::collections::BTreeMap::new(),
            limits: jobwarden_inject::patch::size_limits::SizeLimits::default(),
            beat_interval: Duration::from_secs(10),
        },
    }
}

fn handling(criterion: &mut Criterion) {
    let ip = "10.96.0.7".parse().expect("an address");
    let ca = "-----BEGIN CERTIFICATE-----\n".repeat(20);
    let (_reaper, receiver) = watch::channel(Some(Arc::new(Endpoint::new(ip, "jobwarden", ca))));
    let (_settings, applying) = watch::channel(Arc::new(settings()));
    let admission = Admission::new(
        applying,
        receiver,
        LimitRanges::fixed([]),
        Metrics::register(&mut Registry::default()),
        Limits::default(),
    );
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime needs only memory");
    for (name, body) in [
        ("handler_minimal", reviews::minimal()),
        ("handler_typical", reviews::typical()),
        ("handler_large", reviews::large()),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let request = Request::post(admission_route::PODS).body(Full::new(body.clone())).expect("a request");
                black_box(runtime.block_on(admission.respond(request)))
            });
        });
    }
}

criterion_group!(benches, handling);
criterion_main!(benches);
