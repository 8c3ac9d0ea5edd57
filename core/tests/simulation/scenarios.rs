//! Single histories, for what random ones show too rarely.

use std::time::Duration;

use crate::{
    fault::{Fault, FaultKind, JobFault, NodeFault},
    history::History,
    state::laws::End,
    world::World,
};

/// One healthy Job of one pod that works for a minute, and a fault of it at 30 s.
fn mk_history(seed: u64, fault: JobFault, lasts: Option<Duration>) -> History {
    let mut history = History::lasting(seed);
    history.faults = vec![Fault { at: Duration::from_secs(30), lasts, kind: FaultKind::Job(0, fault) }];
    history.jobs.truncate(1);
    let job = &mut history.jobs[0];
    (job.at, job.work, job.exits) = (Duration::ZERO, Duration::from_mins(1), vec![0]);
    (job.pods, job.mains, job.init, job.helper) = (1, 1, None, None);
    (job.sidecar, job.restarts) = (true, false);
    (job.policy.active_timeout, job.policy.stall_after) = (None, None);
    job.helpers = None;
    history
}

fn end_of(history: &History) -> End {
    let result = World::new(history, false).run();
    assert!(result.violation.is_none(), "{history}: {:?}", result.violation);
    result.final_states[0].end
}

#[test]
fn suspended_time_does_not_count_towards_active_timeout() {
    for seed in 0..10 {
        let mut history = mk_history(seed, JobFault::Suspended, Some(Duration::from_mins(2)));
        history.jobs[0].policy.active_timeout = Some(Duration::from_secs(100));
        assert_eq!(end_of(&history), End::Complete);
    }
}

#[test]
fn a_restart_of_the_sidecar_counts_towards_the_backoff_limit_of_an_on_failure_job() {
    for (on_failure, backoff_limit, expected) in
        [(true, 0, End::Failed), (true, 1, End::Failed), (true, 2, End::Complete), (false, 0, End::Complete)]
    {
        let mut history = mk_history(1, JobFault::SidecarKilled, None);
        (history.jobs[0].restarts, history.jobs[0].backoff_limit) = (on_failure, backoff_limit);
        assert_eq!(end_of(&history), expected, "restarts {on_failure}, backoffLimit {backoff_limit}");
    }
}

/// Every worker in the zones that are cut off lives, whatever its tenant's patience. Nothing is written about any of them before
/// hold-for, and then one node after the other.
#[test]
fn a_partition_of_the_reapers_zone_from_two_others_fails_no_live_worker_before_hold_for() {
    for seed in 0..30 {
        let history = History::partition(seed);
        let result = World::new(&history, false).run();
        assert!(result.violation.is_none(), "{history}: {:?}", result.violation);
        let (begin, hold_for) = (history.faults[0].at, history.hold_for);
        let early = result.enforced.iter().find(|(at, runs)| *runs && (begin..begin + hold_for).contains(at));
        if early.is_some() {
            World::new(&history, true).run().timeline.iter().for_each(|line| println!("{line}"));
        }
        assert_eq!(early, None, "{history}");
        let released = result.enforced.iter().filter(|(at, _)| *at >= begin + hold_for).count();
        assert!(released > 0, "a hold ends: {history}");
    }
}

/// Fifty Jobs on one of four nodes, which crashes: all of them are lost in time, and the breaker holds none.
#[test]
fn a_dense_node_that_crashes_is_acted_upon_at_once() {
    for seed in 0..10 {
        let mut history = History::partition(seed);
        let at = history.faults[0].at;
        (history.nodes, history.zones, history.blind_nodes) = (4, 1, 0);
        history.faults = vec![Fault { at, lasts: None, kind: FaultKind::Node(1, NodeFault::Crash) }];
        history.jobs.truncate(25);
        history.jobs.extend(history.jobs.clone());
        for (number, job) in history.jobs.iter_mut().enumerate() {
            job.on_node = Some(if number < 40 { 1 } else { number % 4 });
            (job.policy.on_lost, job.pods, job.sidecar) = ("fail", 1, true);
            (job.policy.lost_after, job.policy.suspect_after) = (Duration::from_secs(30), Duration::from_secs(20));
        }
        let result = World::new(&history, false).run();
        assert!(result.violation.is_none(), "{history}: {:?}", result.violation);
        let by = at + Duration::from_secs(35);
        for (job, plan) in history.jobs.iter().enumerate().filter(|(_, plan)| plan.on_node == Some(1)) {
            let end = &result.final_states[job];
            assert_eq!(end.end, End::Failed, "job-{job} of {plan:?}");
        }
        let enforced = result.enforced.iter().filter(|(when, _)| (at..by).contains(when)).count();
        let there = history.jobs.iter().filter(|plan| plan.on_node == Some(1)).count();
        assert!(enforced >= there, "{enforced} of {there} in time: {history}");
    }
}
