//! What jobwarden concludes, writes and tells when a cluster breaks, on a real Kubernetes of four nodes: each test is a claim.
//!
//! The cluster is booted once and the claims run side by side where they do not disturb each other; those that harm
//! jobwarden or the control plane come after, and the slow ones run only with `-- --ignored`. Some faults are claims
//! of the end-to-end tests already, and are not repeated here:
//!
//! | fault | claim |
//! |---|---|
//! | node crash, within seconds | `e2e losing::a_crashed_nodes_job_is_failed_reported_and_cleaned` |
//! | partition beyond lost-after, and heal | `e2e losing::a_partitioned_nodes_job_is_failed_and_its_leftover_is_told_to_stop` |
//! | kubelet stopped and started under a live worker | `e2e losing::a_live_worker_outlasts_its_stopped_kubelet` |
//! | sidecar killed | `e2e running::a_killed_sidecar_alone_fails_nothing` |
//! | Job deleted | `e2e telling::a_job_deleted_by_hand_is_reported_and_its_pods_go_within_ten_seconds` |
//!
//! `cargo xtask image` has to have been run before, as `cargo xtask test` does.

mod breaker;
mod control_plane;
mod nodes;
mod reapers;
mod scene;
mod walls;
mod workers;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jobwarden_tests::bed::Bed;
use jobwarden_tests::claims;
use jobwarden_tests::cluster::{self, ClusterConfig};
use jobwarden_tests::install::Settings;
use libtest_mimic::Trial;
use tokio::runtime::Runtime;

/// How long after the last sign of life a worker counts as lost here.
const LOST_AFTER: Duration = Duration::from_secs(30);

type Outcome = anyhow::Result<()>;

fn main() -> ExitCode {
    let runtime = Arc::new(Runtime::new().expect("a runtime needs nothing but threads"));
    cluster::tear_down_on_signals();
    let settings = Settings { lost_after: LOST_AFTER, ..Settings::default() };
    let bed = Arc::new(Bed::new(Arc::clone(&runtime), ClusterConfig::new("chaos").nodes(4), settings));
    // Claims wait far more than they work, and the bed keeps apart what must not meet.
    claims::run(&runtime, 32, side_by_side(&bed), one_after_the_other(&bed), bed.end())
}

/// Claims that let each other be; those that take longest come first.
fn side_by_side(bed: &Arc<Bed>) -> Vec<Trial> {
    let slow = claims![bed, nodes::with_the_default_lost_after_a_crash_is_told_within_it_and_two_seconds];
    let quick = claims![
        bed,
        nodes::a_worker_killed_under_a_hung_runtime_is_told_as_process_gone_within_100_s,
        nodes::a_worker_that_ends_without_a_kubelet_is_told_as_outcome_unknown,
        walls::a_worker_that_nobody_hears_on_a_well_node_is_unseen_and_never_lost,
        nodes::a_worker_on_a_crashed_node_is_told_within_lost_after_and_two_seconds,
        nodes::a_partition_that_heals_before_lost_after_touches_nothing,
        nodes::a_node_deleted_after_its_crash_is_told_as_node_gone_within_30_s,
        nodes::a_pod_evicted_by_a_taint_is_told_once_with_that_cause,
        walls::a_worker_whose_sidecar_is_walled_off_is_seen_by_the_agent,
        workers::a_suspended_and_resumed_job_is_told_once_when_it_succeeds,
        workers::an_image_that_does_not_exist_is_told_after_start_timeout,
        workers::a_worker_killed_by_a_signal_is_told_once_with_that_cause,
        workers::a_worker_out_of_memory_is_told_once_with_that_cause,
        workers::a_worker_that_exits_3_is_told_once_with_that_cause,
    ];
    ignored(slow).chain(quick).collect()
}

/// Claims that the others would not survive.
fn one_after_the_other(bed: &Arc<Bed>) -> Vec<Trial> {
    let quick = claims![
        bed,
        control_plane::a_restart_of_etcd_touches_nothing,
        reapers::a_loss_that_its_leader_does_not_live_to_see_is_told_once_by_the_next,
        reapers::without_agents_no_living_worker_is_touched,
    ];
    let slow = claims![
        bed,
        control_plane::an_api_server_that_is_down_for_a_minute_delays_and_touches_nothing,
        reapers::what_happens_while_every_reaper_is_down_is_told_once_afterwards,
        breaker::of_thirty_jobs_silent_at_once_only_the_one_that_is_dead_is_failed,
    ];
    quick.into_iter().chain(ignored(slow)).collect()
}

/// They take longer than is worth while in every run.
fn ignored(slow: Vec<Trial>) -> impl Iterator<Item = Trial> {
    slow.into_iter().map(|trial| trial.with_ignored_flag(true))
}
