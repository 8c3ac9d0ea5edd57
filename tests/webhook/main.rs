//! The webhook in front of a production cluster: other webhooks beside it, certificates that change, replicas that come and go.
//!
//! A cluster of its own, for it is installed otherwise than by default: both failure policies are `Fail`, so that whatever goes wrong
//! refuses something, and certificates last for a minute or so. `cargo xtask image` has to have been run before, as `cargo xtask
//! test` does.

mod check;
mod limits;
mod reinvocation;
mod rotation;

use std::process::ExitCode;
use std::sync::Arc;

use jobwarden_tests::bed::Bed;
use jobwarden_tests::claims;
use jobwarden_tests::cluster::{self, ClusterConfig};
use jobwarden_tests::install::Settings;
use libtest_mimic::Trial;
use tokio::runtime::Runtime;

/// Nothing may be let past, and certificates change while the tests run.
const SET: [&str; 5] = [
    "webhook.failurePolicy.jobs=Fail",
    "webhook.failurePolicy.pods=Fail",
    "certificates.caLifetime=90s",
    "certificates.leafLifetime=60s",
    "reaper.notifyLate=true",
];

type Outcome = anyhow::Result<()>;

fn main() -> ExitCode {
    let runtime = Arc::new(Runtime::new().expect("a runtime needs nothing but threads"));
    cluster::tear_down_on_signals();
    let settings = Settings { set: &SET, ..Settings::default() };
    let bed = Arc::new(Bed::new(Arc::clone(&runtime), ClusterConfig::new("webhook").nodes(1), settings));
    // Tests wait far more than they work, and each has a namespace of its own.
    claims::run(&runtime, 8, side_by_side(&bed), one_after_the_other(&bed), bed.end())
}

/// Tests that let each other be.
fn side_by_side(bed: &Arc<Bed>) -> Vec<Trial> {
    claims![
        bed,
        rotation::nothing_fails_while_certificates_rotate_and_replicas_restart,
        reinvocation::a_webhook_that_adds_containers_after_us_leaves_one_sidecar,
        reinvocation::a_sidecar_that_another_webhook_strips_is_mended,
        reinvocation::a_sidecar_that_is_stripped_again_is_refused,
        limits::a_limit_range_that_refuses_the_sidecar_is_named_with_the_way_out,
        limits::a_quota_counts_the_sidecar_and_stops_nothing_else,
    ]
}

/// Tests that the others would not survive: they harm jobwarden.
fn one_after_the_other(bed: &Arc<Bed>) -> Vec<Trial> {
    claims![bed, check::check_finds_each_planted_fault_and_says_what_to_do]
}
