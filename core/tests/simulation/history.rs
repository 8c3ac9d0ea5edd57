//! A history: a cluster, its Jobs and what befalls them, as a value. Everything that follows from it is determined.

use std::{fmt, time::Duration};

use crate::fault::Fault;

mod generate;

/// What a run of the simulator is made of.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// From which it was made, and from which all lesser chance is drawn.
    pub(crate) seed: u64,
    /// How many nodes there are.
    pub(crate) nodes: usize,
    /// In which zone each node is.
    pub(crate) zones: usize,
    /// How many reapers there are: one, or a leader and a standby.
    pub(crate) reapers: usize,
    /// The nodes whose agent never sees anything.
    pub(crate) blind_nodes: usize,
    /// The Jobs.
    pub(crate) jobs: Vec<JobPlan>,
    /// What goes wrong.
    pub(crate) faults: Vec<Fault>,
    /// When it is over.
    pub(crate) until: Duration,
    /// The last node is spared by all faults, and takes every attempt but the first.
    pub(crate) safe_node: bool,
}

/// A Job, and what its workers do.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct JobPlan {
    /// When it is created.
    pub(crate) at: Duration,
    /// `spec.parallelism` and `spec.completions`.
    pub(crate) pods: usize,
    /// Main containers of a pod.
    pub(crate) mains: usize,
    /// How long the workload's own init container runs, if it has one.
    pub(crate) init: Option<Duration>,
    /// `spec.backoffLimit`.
    pub(crate) backoff_limit: usize,
    /// `spec.podReplacementPolicy` is `Failed`.
    pub(crate) replaces_only_failed: bool,
    /// Containers are restarted (`OnFailure`).
    pub(crate) restarts: bool,
    /// How long a main container works.
    pub(crate) work: Duration,
    /// The exit codes of its attempts; the last goes for all further ones.
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
    /// Two of its pods may run side by side.
    pub(crate) safe_to_duplicate: bool,
    /// What its annotations say.
    pub(crate) policy: PolicyPlan,
}

/// What the annotations of a Job say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicyPlan {
    /// Of `jobwarden.io/suspect-after`.
    pub(crate) suspect_after: Duration,
    /// Of `jobwarden.io/lost-after`.
    pub(crate) lost_after: Duration,
    /// Of `jobwarden.io/start-timeout`.
    pub(crate) start_timeout: Duration,
    /// Of `jobwarden.io/retention`.
    pub(crate) retention: Duration,
    /// Of `jobwarden.io/on-lost`.
    pub(crate) on_lost: &'static str,
    /// Of `jobwarden.io/unseen`.
    pub(crate) unseen: &'static str,
    /// Of `jobwarden.io/not-starting`.
    pub(crate) not_starting: &'static str,
    /// Of `jobwarden.io/unscheduled-timeout`.
    pub(crate) unscheduled_timeout: Option<Duration>,
    /// Of `jobwarden.io/active-timeout`.
    pub(crate) active_timeout: Option<Duration>,
    /// Of `jobwarden.io/stall-after`.
    pub(crate) stall_after: Option<Duration>,
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
