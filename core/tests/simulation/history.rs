//! A history: a cluster, its Jobs and its faults, as a value. The whole run follows from it.

use std::{fmt, time::Duration};

use crate::fault::Fault;

mod generate;

/// The input of one run.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// The seed of everything that is random, in the history and in the run.
    pub(crate) seed: u64,
    /// How many nodes there are.
    pub(crate) nodes: usize,
    /// How many zones they are in.
    pub(crate) zones: usize,
    /// How many reapers there are: one, or a leader and a standby.
    pub(crate) reapers: usize,
    /// How many nodes have an agent that never sees a process.
    pub(crate) blind_nodes: usize,
    /// The Jobs.
    pub(crate) jobs: Vec<JobPlan>,
    /// The faults.
    pub(crate) faults: Vec<Fault>,
    /// When it ends.
    pub(crate) until: Duration,
    /// How many namespaces the Jobs are in.
    pub(crate) namespaces: usize,
    /// `breaker.hold-for`.
    pub(crate) hold_for: Duration,
    /// No fault is on the last node, and all attempts but the first run there.
    pub(crate) safe_node: bool,
    /// By how many seconds the clocks of the machines on which the reapers run are ahead of the API server's.
    pub(crate) clock_skew: i64,
}

/// A Job and the behaviour of its workers.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct JobPlan {
    /// When it is created.
    pub(crate) at: Duration,
    /// Its namespace.
    pub(crate) namespace: usize,
    /// The only node that its pods may run on, if there is one.
    pub(crate) on_node: Option<usize>,
    /// `spec.parallelism` and `spec.completions`.
    pub(crate) pods: usize,
    /// Main containers of a pod.
    pub(crate) mains: usize,
    /// The workload's own native sidecar, if it has one.
    pub(crate) helper: Option<HelperPlan>,
    /// How long the workload's own init container runs, if it has one.
    pub(crate) init: Option<Duration>,
    /// `spec.backoffLimit`.
    pub(crate) backoff_limit: usize,
    /// `spec.podReplacementPolicy` is `Failed`.
    pub(crate) replaces_only_failed: bool,
    /// `restartPolicy` is `OnFailure`, not `Never`.
    pub(crate) restarts: bool,
    /// How long a main container runs.
    pub(crate) work: Duration,
    /// How long the other main containers run, if not as long as the first one.
    pub(crate) helpers: Option<Duration>,
    /// The exit codes of its attempts; the last one is that of all further attempts.
    pub(crate) exits: Vec<i32>,
    /// `spec.terminationGracePeriodSeconds`.
    pub(crate) grace: Duration,
    /// The worker ignores SIGTERM.
    pub(crate) ignores_sigterm: bool,
    /// How long its pods tolerate an unreachable node.
    pub(crate) toleration: Duration,
    /// Its pods have our sidecar.
    pub(crate) sidecar: bool,
    /// `spec.managedBy` names another controller.
    pub(crate) managed_elsewhere: bool,
    /// A controller owns it.
    pub(crate) owned: bool,
    /// Two of its pods may run at the same time.
    pub(crate) safe_to_duplicate: bool,
    /// Its annotations.
    pub(crate) policy: PolicyPlan,
}

/// A native sidecar of the workload with a startup probe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HelperPlan {
    /// How long it runs until the probe succeeds, or has failed for the last time.
    pub(crate) warm_up: Duration,
    /// The probe never succeeds.
    pub(crate) never_warm: bool,
}

/// The annotations of a Job that set its policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicyPlan {
    /// `jobwarden.io/suspect-after`.
    pub(crate) suspect_after: Duration,
    /// `jobwarden.io/lost-after`.
    pub(crate) lost_after: Duration,
    /// `jobwarden.io/start-timeout`.
    pub(crate) start_timeout: Duration,
    /// `jobwarden.io/retention`.
    pub(crate) retention: Duration,
    /// `jobwarden.io/on-lost`.
    pub(crate) on_lost: &'static str,
    /// `jobwarden.io/unseen`.
    pub(crate) unseen: &'static str,
    /// `jobwarden.io/not-starting`.
    pub(crate) not_starting: &'static str,
    /// `jobwarden.io/unscheduled-timeout`.
    pub(crate) unscheduled_timeout: Option<Duration>,
    /// `jobwarden.io/active-timeout`.
    pub(crate) active_timeout: Option<Duration>,
    /// `jobwarden.io/stall-after`.
    pub(crate) stall_after: Option<Duration>,
    /// `jobwarden.io/init-timeout`.
    pub(crate) init_timeout: Option<Duration>,
    /// `jobwarden.io/stranded-after`.
    pub(crate) stranded_after: Option<Duration>,
    /// `jobwarden.io/on-container-exit`.
    pub(crate) on_container_exit: &'static str,
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} nodes in {} zones, the first {} with a blind agent; {} reapers; {:?} long",
            self.seed, self.nodes, self.zones, self.blind_nodes, self.reapers, self.until
        )?;
        for (number, job) in self.jobs.iter().enumerate() {
            writeln!(f, "  job-{number}: {job:?}")?;
        }
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        Ok(())
    }
}
