//! jobwarden from end to end, on a real Kubernetes of four nodes: each test is a claim.
//!
//! The cluster is booted once, jobwarden installed once from its chart, and the tests run side by side where they do not
//! disturb each other: one that harms a node leases that node. Those that harm jobwarden or the API server come after. `cargo xtask image` has to have been run before, as `cargo xtask test` does.

mod admission;
mod bare;
mod intake;
mod losing;
mod observing;
mod outage;
mod running;
mod showing;
mod sidecar;
mod telling;
mod uninstall;

use std::process::ExitCode;
use std::sync::Arc;

use jobwarden_tests::bed::Bed;
use jobwarden_tests::claims;
use jobwarden_tests::cluster::{self, ClusterConfig};
use jobwarden_tests::install::Settings;
use libtest_mimic::Trial;
use tokio::runtime::Runtime;

type Outcome = anyhow::Result<()>;

fn main() -> ExitCode {
    let runtime = Arc::new(Runtime::new().expect("a runtime needs nothing but threads"));
    cluster::tear_down_on_signals();
    let settings = Settings::default();
    let bed = Arc::new(Bed::new(Arc::clone(&runtime), ClusterConfig::new("e2e").nodes(4), settings));
    // Tests wait far more than they work, and the bed keeps apart what must not meet.
    claims::run(&runtime, 32, side_by_side(&bed), one_after_the_other(&bed), bed.end())
}

/// Tests that let each other be; those that take longest come first.
fn side_by_side(bed: &Arc<Bed>) -> Vec<Trial> {
    claims![
        bed,
        losing::a_live_worker_outlasts_its_stopped_kubelet,
        losing::a_partitioned_nodes_job_is_failed_and_its_leftover_is_told_to_stop,
        losing::a_crashed_nodes_job_is_failed_reported_and_cleaned,
        losing::a_job_with_retries_left_is_retried_elsewhere_and_reported_as_attempt_failed,
        bare::a_bare_pod_on_a_crashed_node_is_told_as_lost_and_removed,
        showing::suspicion_loss_and_return_of_a_worker_are_events_on_its_job,
        admission::a_jobs_pod_gets_labels_and_sidecar,
        admission::a_namespace_that_is_not_enrolled_is_untouched,
        admission::the_workloads_token_is_not_in_the_sidecar,
        running::a_job_completes_although_it_has_a_sidecar,
        running::a_killed_sidecar_alone_fails_nothing,
        running::a_suspended_job_is_left_alone,
        bare::a_bare_pod_is_told_of_by_how_it_ends,
        showing::a_job_is_explained_by_row_timers_and_policy_with_its_origin,
        sidecar::the_sidecar_stays_small_over_a_thousand_beats,
        telling::a_job_deleted_by_hand_is_reported_and_its_pods_go_within_ten_seconds,
        intake::a_beat_is_believed_only_with_the_token_of_a_known_pod,
        intake::an_agent_that_reports_a_pod_of_another_node_is_refused,
    ]
}

/// Tests that the others would not survive: they harm jobwarden or the API server, and in the end take jobwarden away.
fn one_after_the_other(bed: &Arc<Bed>) -> Vec<Trial> {
    claims![
        bed,
        intake::a_beat_is_accepted_while_the_api_server_is_down,
        outage::an_outage_of_the_webhook_delays_enrolled_pods_and_nothing_else,
        outage::a_pod_that_an_outage_lets_past_is_reported_as_unguarded,
        telling::a_receiver_that_is_down_for_thirty_seconds_loses_nothing,
        telling::a_leader_killed_between_verdict_and_delivery_still_delivers,
        observing::who_only_observes_tells_of_a_loss_and_writes_to_no_job_or_pod,
        uninstall::helm_uninstall_leaves_no_finalizer_and_no_webhook,
        uninstall::plain_manifests_are_accepted_and_go_without_a_trace,
    ]
}
