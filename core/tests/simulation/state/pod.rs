//! A pod: the object in the API server, and its actual state on the node.

use std::time::Duration;

use jobwarden_common::identity::PodUid;

use super::received_signals::ReceivedSignals;
use crate::dice::Dice;

/// The slot of the workload's native sidecar; see [`Pod::container_id`].
pub(crate) const HELPER_SLOT: usize = 99;

/// A pod.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Pod {
    /// `metadata.uid`.
    pub(crate) uid: PodUid,
    /// `metadata.name`.
    pub(crate) name: String,
    /// When it was created; the same on the clock of [`super::signal_clock`].
    pub(crate) created: Duration,
    pub(crate) created_at: i64,
    /// Its Job.
    pub(crate) job: usize,
    /// The number of the attempt, from 0.
    pub(crate) attempt: usize,
    /// The object exists.
    pub(crate) exists: bool,
    /// Its Job controls it.
    pub(crate) owned: bool,
    /// Its node, once it is bound.
    pub(crate) node: Option<usize>,
    /// It carries a deletion timestamp.
    pub(crate) deleting: bool,
    /// When its deletion was requested.
    pub(crate) deleted_at: Duration,
    /// The reaper has deleted it, in this life and term.
    pub(crate) deleted_by_reaper: Option<(usize, u32, u32)>,
    /// It was deleted by others while its worker ran and its signals arrived.
    pub(crate) dropped: bool,
    /// The Job controller has counted it as succeeded or failed.
    pub(crate) counted: bool,
    /// `status`, as last written.
    pub(crate) status: Status,
    /// When the kubelet last wrote it.
    pub(crate) status_written_at: Duration,
    /// Whether the reapers could see that then.
    pub(crate) status_is_seen: bool,
    /// For how long it said that the workload's native sidecar warms up, until then, as far as the reapers could see it.
    pub(crate) warmed: Duration,
    /// When it was bound to its node.
    pub(crate) bound: Duration,
    /// The state on the node.
    pub(crate) actual: ActualState,
    /// Its random numbers. Beats have their own, as there are more of them when they get no reply.
    pub(crate) dice: Dice,
    pub(crate) beat_dice: Dice,
    /// The signals of it that have reached the reaper.
    pub(crate) received: ReceivedSignals,
}

/// `status` of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// `phase`.
    pub(crate) phase: Phase,
    /// `reason`.
    pub(crate) reason: Option<String>,
    /// The states of the containers.
    pub(crate) containers: Containers,
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub(crate) fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

/// The state of a pod on its node.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct ActualState {
    /// The kubelet knows the pod.
    pub(crate) known: bool,
    /// The kubelet is terminating it.
    pub(crate) stopping: bool,
    /// The kubelet does nothing for it.
    pub(crate) ignored_by_kubelet: bool,
    /// Its sandbox runs.
    pub(crate) sandbox: bool,
    /// A start of containers is scheduled.
    pub(crate) starting: bool,
    /// Counts the reboots of its node: events of an earlier life are void.
    pub(crate) life: u32,
    /// Its containers.
    pub(crate) containers: Containers,
    /// From when, and until when, the worker used no CPU time the last time.
    pub(crate) stalled: Option<(Duration, Option<Duration>)>,
    /// The sidecar was told to stop.
    pub(crate) silenced: bool,
    /// How many faults block its beats.
    pub(crate) blocked: u32,
    /// The containers, and their runs, that the agent has seen running.
    pub(crate) seen: Vec<(usize, u32)>,
    /// The agent does not have to report it any more.
    pub(crate) unwanted: bool,
    /// Since when the worker is dead, on the clock of [`super::signal_clock`]; and in real time.
    pub(crate) dead_since: Option<i64>,
    pub(crate) died: Duration,
}

/// The containers of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Containers {
    /// Our sidecar.
    pub(crate) sidecar: Option<Container>,
    /// The workload's own native sidecar.
    pub(crate) helper: Option<Container>,
    /// The workload's init container.
    pub(crate) init: Option<Container>,
    /// The main containers.
    pub(crate) mains: Vec<Container>,
}

/// A container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Container {
    /// Counts its starts.
    pub(crate) run: u32,
    /// Its state.
    pub(crate) state: Run,
    /// Why it does not start.
    pub(crate) problem: Option<&'static str>,
    /// The startup probe of this run has succeeded.
    pub(crate) warm: bool,
}

/// The state of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Run {
    /// Has never run.
    #[default]
    Idle,
    /// Runs.
    Running,
    /// Has ended and is not restarted.
    Ended { code: i32, oom: bool },
    /// Has ended and will be restarted.
    Restarting { code: i32, oom: bool },
}

impl Containers {
    /// The sum of `restartCount` over all containers.
    pub(crate) fn restarts(&self) -> usize {
        let all = [self.sidecar, self.helper, self.init].into_iter().flatten().chain(self.mains.iter().copied());
        all.map(|container| container.run.saturating_sub(1) as usize).sum()
    }

    /// The workload's native sidecar runs, and its startup probe has not succeeded.
    pub(crate) fn warm_up(&self) -> bool {
        self.helper.is_some_and(|helper| helper.is_running() && !helper.warm)
    }
}

impl Container {
    /// Starts it.
    pub(crate) fn start(&mut self) {
        *self = Self { run: self.run + 1, state: Run::Running, problem: None, warm: false };
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state == Run::Running
    }

    pub(crate) fn waits(&self) -> bool {
        matches!(self.state, Run::Idle | Run::Restarting { .. })
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, Run::Ended { .. })
    }
}

impl Pod {
    /// The object is there and its phase not terminal.
    pub(crate) fn is_open(&self) -> bool {
        self.exists && !self.status.phase.is_terminal()
    }

    /// Open, and not being deleted: active, as the Job controller defines it.
    pub(crate) fn is_active(&self) -> bool {
        self.is_open() && !self.deleting
    }

    /// Main containers run, and none of them has yet to start for the first time.
    pub(crate) fn worker_runs(&self) -> bool {
        let mains = &self.actual.containers.mains;
        mains.iter().any(Container::is_running) && mains.iter().all(|main| main.state != Run::Idle)
    }

    /// No main container runs, and the kubelet starts none.
    pub(crate) fn worker_has_ended(&self) -> bool {
        let mains = &self.actual.containers.mains;
        let stopping = self.actual.stopping;
        mains.iter().all(|main| main.has_ended() || (stopping && !main.is_running()))
    }

    /// The phase that the kubelet would write.
    pub(crate) fn true_phase(&self) -> Phase {
        let Containers { sidecar, mains, .. } = &self.actual.containers;
        let bad = |main: &Container| !matches!(main.state, Run::Ended { code: 0, .. });
        // Only once the sidecar has ended too (KEP-753).
        if self.worker_has_ended() && !sidecar.is_some_and(|sidecar| sidecar.is_running()) {
            return if mains.iter().any(bad) { Phase::Failed } else { Phase::Succeeded };
        }
        if mains.iter().any(|main| main.state == Run::Idle) { Phase::Pending } else { Phase::Running }
    }

    /// Milliseconds of CPU time that a main container has used: one per millisecond, unless it is stalled.
    pub(crate) fn cpu_ms(&self, now: Duration) -> u64 {
        let until = match self.actual.stalled {
            Some((since, None)) => since,
            Some((_, Some(_))) | None => now,
        };
        until.as_millis().try_into().unwrap_or(u64::MAX)
    }

    /// The runtime's ID of a run. Slot 0 is the sandbox, 1 the sidecar, 2 the init container; the main containers follow.
    /// [`HELPER_SLOT`] is the workload's native sidecar.
    pub(crate) fn container_id(&self, slot: usize, run: u32) -> String {
        format!("{}-{slot}-{run}", self.uid)
    }

    /// Every container that has been started, as slot, run and whether it runs.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (usize, u32, bool)> {
        let Containers { sidecar, helper, init, mains } = &self.actual.containers;
        let state = if self.actual.sandbox { Run::Running } else { Run::Idle };
        let sandbox = Container { run: 1, state, ..Container::default() };
        let slots = [Some(sandbox), *sidecar, *init].into_iter().chain(mains.iter().copied().map(Some));
        let slots = slots.enumerate().chain([(HELPER_SLOT, *helper)]);
        let all: Vec<_> = slots.filter_map(|(slot, container)| Some((slot, container?))).collect();
        all.into_iter().filter(|(_, it)| it.run > 0).map(|(slot, it)| (slot, it.run, it.is_running()))
    }
}

/// The backoff of the Job controller after this many failures in a row: 10 s, doubled up to 10 min.
pub(crate) fn backoff(failures: usize) -> Duration {
    if failures == 0 { Duration::ZERO } else { Duration::from_secs((10 << failures.min(7).saturating_sub(1)).min(600)) }
}

impl Run {
    /// The exit code of a run of an attempt.
    pub(crate) fn exit(exits: &[i32], attempt: usize, run: u32) -> i32 {
        let index = attempt + run.saturating_sub(1) as usize;
        exits.get(index).or(exits.last()).copied().unwrap_or(0)
    }
}
