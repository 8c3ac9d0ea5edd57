//! What jobwarden decides, writes and reports when parts of a cluster fail, on a real Kubernetes of four nodes.
//!
//! The cluster is booted once. Tests that do not disturb each other run concurrently; those that damage jobwarden or the
//! control plane follow one after the other, and slow tests run only with `-- --ignored`. The end-to-end tests cover some
//! faults, which are not repeated here:
//!
//! | fault | test |
//! |---|---|
//! | node crash, within seconds | `e2e node_failures::a_job_on_a_crashed_node_is_failed_reported_and_cleaned_up` |
//! | partition beyond lost-after, and heal | `e2e node_failures::a_job_on_a_partitioned_node_is_failed_and_its_worker_is_stopped_later` |
//! | kubelet stopped and started under a live worker | `e2e node_failures::a_live_worker_survives_its_stopped_kubelet` |
//! | sidecar killed | `e2e healthy_jobs::a_killed_sidecar_does_not_fail_its_job` |
//! | Job deleted | `e2e notifications::a_deleted_job_is_reported_and_its_pods_are_gone_within_ten_seconds` |
//!
//! Requires the images of `cargo xtask image`, which `cargo xtask test` builds.

mod blocked_traffic;
mod breaker;
mod causes;
mod control_plane;
mod delivery_storm;
mod dense_node;
mod nodes;
mod on_failure;
mod reapers;
mod refused_writes;
mod restored;
mod scaling;
mod scenario;
mod stuck;
mod waiting;
mod workers;

use std::process::ExitCode;
use std::sync::Arc;

use jobwarden_testbed::{ClusterConfig, tear_down_on_signals};
use jobwarden_tests::install::Settings;
use jobwarden_tests::scenarios;
use jobwarden_tests::scenarios::Stage;
use jobwarden_tests::shared_cluster::SharedCluster;
use libtest_mimic::Trial;
use tokio::runtime::Runtime;

use scenario::LOST_AFTER;

fn main() -> ExitCode {
    let runtime = Arc::new(Runtime::new().expect("a runtime needs nothing but threads"));
    tear_down_on_signals();
    let settings = Settings { lost_after: LOST_AFTER, ..Settings::default() };
    let cluster = Arc::new(SharedCluster::new(Arc::clone(&runtime), ClusterConfig::new("chaos").nodes(4), settings));
    // Tests mostly wait, so many run at once. A test that damages a node leases that node.
    let stages = [(concurrent(&cluster), 32), (serial(&cluster), 1)].map(|(trials, at_once)| Stage { at_once, trials });
    scenarios::run(&runtime, stages, cluster.tear_down())
}

/// Tests that do not disturb each other, the longest first.
fn concurrent(cluster: &Arc<SharedCluster>) -> Vec<Trial> {
    let slow = scenarios![
        cluster,
        waiting::a_job_whose_controller_backs_off_is_left_alone,
        waiting::a_native_sidecar_that_warms_up_is_waited_for,
        waiting::a_native_sidecar_that_never_warms_up_is_the_cause_of_a_loss,
        waiting::a_pod_starts_when_its_node_is_ready_again,
        waiting::an_exit_code_behind_a_stalled_runtime_is_waited_for,
        waiting::a_drained_worker_whose_node_is_deleted_fails_no_job,
        nodes::a_loss_is_reported_within_the_default_lost_after_plus_two_seconds,
        on_failure::a_reboot_leaves_jobs_that_restart_in_place_as_they_are_without_jobwarden,
        stuck::a_worker_that_is_heard_again_is_reported_and_its_later_loss_as_well,
        stuck::a_job_that_replaces_only_failed_pods_is_failed_after_stranded_after,
        stuck::a_node_that_its_cloud_provider_reports_shut_down_ends_the_wait,
        stuck::a_pod_on_a_node_that_is_not_ready_is_reported_and_lives_when_the_node_is_back,
        stuck::a_refused_write_is_reported_and_tried_again,
        stuck::a_reboot_while_an_image_is_pulled_is_reported_after_start_timeout,
        stuck::a_sidecar_without_its_image_is_reported_and_its_job_is_not_failed,
        causes::each_job_that_a_cron_job_replaces_is_reported_once_with_its_deleter,
        scaling::a_job_that_is_scaled_down_during_a_crash_is_not_failed,
        scaling::a_drained_worker_that_goes_with_its_node_costs_no_retry,
        refused_writes::a_loss_is_reported_in_time_although_a_policy_refuses_the_writes,
        refused_writes::a_worker_that_could_not_be_failed_is_reported_once,
    ];
    let quick = scenarios![
        cluster,
        nodes::a_worker_killed_under_a_hung_runtime_is_reported_process_gone_within_220_s,
        nodes::a_worker_that_ends_without_a_kubelet_is_reported_outcome_unknown,
        blocked_traffic::a_silent_worker_on_a_healthy_node_is_reported_unseen_and_never_lost,
        nodes::a_loss_on_a_crashed_node_is_reported_within_lost_after_plus_two_seconds,
        nodes::a_partition_shorter_than_lost_after_changes_nothing,
        nodes::a_worker_on_a_deleted_node_is_reported_node_gone_within_30_s,
        nodes::a_pod_evicted_by_a_taint_is_reported_once_with_that_cause,
        blocked_traffic::a_worker_whose_sidecar_is_cut_off_is_seen_by_the_agent,
        on_failure::no_sidecar_uses_up_the_retries_of_a_job_that_restarts_in_place,
        stuck::a_retry_goes_to_a_node_that_lives_and_costs_one_attempt,
        stuck::a_helper_that_never_ends_is_reported_once,
        stuck::a_failed_container_beside_one_that_runs_on_is_reported_or_fails_its_job_by_choice,
        stuck::a_pod_without_a_node_is_reported_in_the_schedulers_words,
        stuck::an_init_container_that_never_ends_is_lost_after_init_timeout,
        workers::a_suspended_and_resumed_job_is_reported_once_when_it_succeeds,
        workers::a_missing_image_is_reported_after_start_timeout,
        workers::a_worker_killed_by_a_signal_is_reported_once_with_that_cause,
        workers::a_worker_out_of_memory_is_reported_once_with_that_cause,
        workers::a_worker_that_exits_3_is_reported_once_with_that_cause,
        causes::a_deadline_that_passes_without_a_node_quotes_the_scheduler,
        causes::a_volume_that_cannot_be_mounted_is_the_cause_of_a_pod_that_does_not_start,
        causes::a_job_that_is_deleted_after_its_work_says_that_the_work_may_be_done,
        causes::a_job_that_ends_with_its_namespace_says_so,
    ];
    ignored(slow).chain(quick).collect()
}

/// Tests that would break the others: they damage jobwarden or the control plane.
fn serial(cluster: &Arc<SharedCluster>) -> Vec<Trial> {
    let quick = scenarios![
        cluster,
        control_plane::an_etcd_restart_changes_nothing,
        reapers::a_loss_during_a_failover_is_reported_once_by_the_new_leader,
        reapers::live_workers_are_left_alone_while_no_agent_runs,
    ];
    let slow = scenarios![
        cluster,
        waiting::suspended_time_does_not_count_while_controllers_are_down,
        waiting::a_reaper_whose_clock_is_wrong_keeps_deadlines,
        control_plane::an_api_server_outage_of_a_minute_delays_reports_and_loses_none,
        reapers::outcomes_during_a_reaper_outage_are_reported_once_afterwards,
        refused_writes::a_loss_is_reported_in_time_although_the_role_lacks_the_rights,
        breaker::of_thirty_jobs_silent_at_once_only_the_dead_one_is_failed,
        restored::a_job_that_a_restored_etcd_does_not_know_is_reported_deleted,
        delivery_storm::every_outcome_of_three_hundred_jobs_arrives_while_leaders_are_killed_and_receivers_fail,
        dense_node::sixty_jobs_of_a_crashed_node_are_failed_at_once_and_two_of_three_nodes_are_held_until_released,
    ];
    quick.into_iter().chain(ignored(slow)).collect()
}

/// Tests that are too slow for every run. `-- --ignored` runs them.
fn ignored(slow: Vec<Trial>) -> impl Iterator<Item = Trial> {
    slow.into_iter().map(|trial| trial.with_ignored_flag(true))
}
