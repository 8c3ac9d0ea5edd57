//! Single histories, for what random ones show too rarely.

use std::time::Duration;

use crate::{
    fault::{Fault, FaultKind, JobFault},
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
