//! The webhook under production conditions: other webhooks, certificate rotation, and replicas that are replaced.
//!
//! These tests have their own cluster because jobwarden is installed with other settings: both failure policies are `Fail`,
//! so that every failed call rejects a request, and certificates are valid for about a minute. Requires the images of
//! `cargo xtask image`, which `cargo xtask test` builds.

mod certificate_rotation;
mod check;
mod corpus;
mod harmless;
mod limit_ranges_and_quotas;
mod other_webhooks;

use std::process::ExitCode;
use std::sync::Arc;

use jobwarden_testbed::{ClusterConfig, tear_down_on_signals};
use jobwarden_tests::install::Settings;
use jobwarden_tests::scenarios;
use jobwarden_tests::scenarios::Stage;
use jobwarden_tests::shared_cluster::SharedCluster;
use libtest_mimic::Trial;
use tokio::runtime::Runtime;

/// No request may pass without admission, and certificates rotate while the tests run.
const SET: [&str; 5] = [
    "webhook.failurePolicy.jobs=Fail",
    "webhook.failurePolicy.pods=Fail",
    "certificates.caLifetime=90s",
    "certificates.leafLifetime=60s",
    "reaper.notifyLate=true",
];

fn main() -> ExitCode {
    let runtime = Arc::new(Runtime::new().expect("a runtime needs nothing but threads"));
    tear_down_on_signals();
    let settings = Settings { set: &SET, ..Settings::default() };
    let cluster = Arc::new(SharedCluster::new(Arc::clone(&runtime), ClusterConfig::new("webhook").nodes(1), settings));
    // Tests mostly wait, and each has its own namespace.
    let stages = [(concurrent(&cluster), 8), (serial(&cluster), 1)].map(|(trials, at_once)| Stage { at_once, trials });
    scenarios::run(&runtime, stages, cluster.tear_down())
}

/// Tests that do not disturb each other.
fn concurrent(cluster: &Arc<SharedCluster>) -> Vec<Trial> {
    let slow = scenarios![cluster, corpus::every_pod_template_of_the_corpus_is_accepted_with_jobwarden_if_without];
    let quick = scenarios![
        cluster,
        certificate_rotation::nothing_fails_while_certificates_rotate_and_replicas_restart,
        other_webhooks::another_webhook_that_adds_containers_leaves_one_sidecar,
        other_webhooks::a_sidecar_stripped_by_another_webhook_is_repaired,
        other_webhooks::a_pod_whose_sidecar_is_stripped_again_is_rejected,
        corpus::a_sample_of_pod_templates_is_accepted_with_jobwarden_if_without,
        harmless::admission_makes_of_each_manifest_what_its_creator_expects,
        harmless::creators_are_warned_and_told_who_is_at_fault,
        limit_ranges_and_quotas::a_sidecar_fits_into_the_limit_range_of_its_namespace,
        limit_ranges_and_quotas::a_pod_without_room_for_the_sidecar_runs_without_it_and_its_job_is_warned,
        limit_ranges_and_quotas::a_quota_counts_the_sidecar_and_rejects_nothing_else,
    ];
    // Slow ones run with `-- --ignored`.
    quick.into_iter().chain(slow.into_iter().map(|trial| trial.with_ignored_flag(true))).collect()
}

/// Tests that would break the others: they damage jobwarden.
fn serial(cluster: &Arc<SharedCluster>) -> Vec<Trial> {
    scenarios![cluster, check::check_reports_each_planted_fault_with_a_remedy]
}
