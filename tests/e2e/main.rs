//! jobwarden from end to end, on a real Kubernetes of four nodes.
//!
//! The cluster is booted once and jobwarden is installed once from its chart. Tests that do not disturb each other run
//! concurrently: a test that damages a node leases that node. Tests that damage jobwarden or the API server follow one
//! after the other. Requires the images of `cargo xtask image`, which `cargo xtask test` builds.

mod admission;
mod api_access;
mod authentication;
mod bare_pods;
mod events_and_explanations;
mod fail_with;
mod flood;
mod following;
mod given_up;
mod healthy_jobs;
mod hostile_tenants;
mod job_monitor;
mod lists;
mod node_failures;
mod notifications;
mod observe_only;
mod orphans;
mod own_objects;
mod own_rights;
mod ownership;
mod ports;
mod sidecar_size;
mod sinks;
mod uninstall;
mod upgraded;
mod webhook_outage;

use std::process::ExitCode;
use std::sync::Arc;

use jobwarden_testbed::{ClusterConfig, tear_down_on_signals};
use jobwarden_tests::install::Settings;
use jobwarden_tests::scenarios;
use jobwarden_tests::scenarios::Stage;
use jobwarden_tests::shared_cluster::SharedCluster;
use libtest_mimic::Trial;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let runtime = Arc::new(Runtime::new().expect("a runtime needs nothing but threads"));
    tear_down_on_signals();
    let settings = Settings::default();
    let cluster = Arc::new(SharedCluster::new(Arc::clone(&runtime), ClusterConfig::new("e2e").nodes(4), settings));
    // Tests mostly wait, so many run at once. A test that damages a node leases that node.
    let stages = [(concurrent(&cluster), 32), (hostile(&cluster), 3), (serial(&cluster), 1)];
    let stages = stages.map(|(trials, at_once)| Stage { at_once, trials });
    scenarios::run(&runtime, stages, cluster.tear_down())
}

/// Tests that do not disturb each other, the longest first.
fn concurrent(cluster: &Arc<SharedCluster>) -> Vec<Trial> {
    scenarios![
        cluster,
        node_failures::a_live_worker_survives_its_stopped_kubelet,
        orphans::an_ended_pod_of_a_job_that_was_deleted_without_it_is_deleted_and_no_other_pod,
        flood::jobs_beyond_the_limit_are_told_of_and_taken_up_when_others_are_gone,
        node_failures::a_job_on_a_partitioned_node_is_failed_and_its_worker_is_stopped_later,
        node_failures::a_job_on_a_crashed_node_is_failed_reported_and_cleaned_up,
        node_failures::a_job_with_retries_left_is_retried_elsewhere_and_reported_as_attempt_failed,
        bare_pods::a_bare_pod_on_a_crashed_node_is_reported_lost_and_removed,
        events_and_explanations::suspicion_loss_and_recovery_of_a_worker_are_events_on_its_job,
        admission::a_pod_of_an_enrolled_job_gets_labels_and_a_sidecar,
        admission::a_namespace_that_is_not_enrolled_is_untouched,
        admission::the_sidecar_has_its_own_token_and_not_the_workers,
        healthy_jobs::a_job_with_a_sidecar_completes,
        healthy_jobs::a_killed_sidecar_does_not_fail_its_job,
        healthy_jobs::a_suspended_job_is_left_alone,
        bare_pods::a_bare_pod_is_reported_by_how_it_ends,
        events_and_explanations::an_explanation_shows_row_timers_and_the_origin_of_each_policy,
        sidecar_size::the_sidecar_stays_small_over_a_thousand_beats,
        notifications::a_deleted_job_is_reported_and_its_pods_are_gone_within_ten_seconds,
        authentication::a_beat_is_accepted_only_with_a_valid_token_of_an_existing_pod,
        authentication::an_agent_that_reports_a_pod_of_another_node_is_rejected,
        ownership::a_forged_owner_reference_adds_no_pod_to_the_job_of_another_namespace,
        ownership::a_label_written_by_hand_silences_no_job,
        ownership::a_namespace_that_leaves_keeps_no_finalizer,
        ownership::words_written_in_a_namespace_that_is_not_enrolled_have_no_effect,
        ownership::a_tenant_changes_everything_of_its_jobs_but_our_words,
        own_rights::the_reapers_token_changes_neither_what_runs_nor_what_is_not_enrolled,
        own_rights::the_webhooks_token_writes_its_certificates_only,
        own_rights::the_agents_token_reads_one_config_map,
        ports::a_report_of_who_is_no_agent_is_rejected_before_it_is_sent,
        ports::the_agent_listens_on_the_loopback_only,
        api_access::a_tenant_reads_what_is_his_and_a_stranger_nothing,
    ]
}

/// Attacks, which ordinary tests would take for faults.
fn hostile(cluster: &Arc<SharedCluster>) -> Vec<Trial> {
    scenarios![
        cluster,
        hostile_tenants::whoever_claims_a_foreign_job_changes_nothing_of_it,
        hostile_tenants::words_of_a_tenant_stay_its_own,
        hostile_tenants::no_policy_or_number_of_a_tenant_delays_another,
        hostile_tenants::what_is_jobwardens_own_stays_so_and_is_never_left_behind,
        hostile_tenants::no_token_or_connection_of_a_tenant_speaks_for_another,
        hostile_tenants::objects_that_look_like_jobwardens_have_no_effect,
    ]
}

/// Tests that would break the others: they damage jobwarden or the API server, and the last ones uninstall jobwarden.
fn serial(cluster: &Arc<SharedCluster>) -> Vec<Trial> {
    scenarios![
        cluster,
        authentication::a_beat_is_accepted_while_the_api_server_is_down,
        ports::probes_are_answered_while_every_slot_of_an_admin_port_is_held,
        ports::heads_that_never_end_cost_the_reaper_little_and_delay_no_honest_beat,
        webhook_outage::a_webhook_outage_delays_only_pods_of_enrolled_jobs,
        webhook_outage::a_pod_created_without_the_webhook_is_reported_as_sidecar_missing,
        notifications::a_receiver_outage_of_thirty_seconds_loses_no_notification,
        notifications::a_notification_is_delivered_after_its_leader_is_killed,
        sinks::a_sink_gets_what_its_filter_says_and_what_is_given_up_goes_to_another,
        given_up::what_a_broker_never_got_is_shown_and_redelivered_once_its_queue_exists,
        flood::suspended_jobs_made_and_deleted_in_a_minute_cost_one_tenants_share,
        own_objects::an_upgrade_keeps_the_certificates,
        own_objects::a_deleted_secret_is_named_with_its_remedy_and_filled_once_it_is_created,
        fail_with::a_job_is_failed_by_its_deadline_where_that_is_configured,
        following::selected_and_enrolled_jobs_are_followed_by_lists_alone_and_no_others_are,
        job_monitor::the_documented_variables_of_the_job_monitor_are_all_that_its_queue_takes,
        observe_only::observe_only_reports_a_loss_and_changes_no_job_or_pod,
        uninstall::helm_uninstall_leaves_no_finalizer_and_no_webhook,
        uninstall::plain_manifests_install_and_uninstall_completely,
    ]
}
