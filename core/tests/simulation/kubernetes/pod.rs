//! A pod: the object that the API server holds, and the containers that are the actual.

use std::time::Duration;

use jobwarden_common::identity::PodUid;

use crate::{dice::Dice, laws::received_signals::ReceivedSignals};

/// A pod.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Pod {
    /// `metadata.uid`.
    pub(crate) uid: PodUid,
    /// `metadata.name`.
    pub(crate) name: String,
    /// When it was made; the same on the clock of [`crate::laws::signal_clock`].
    pub(crate) created: Duration,
    pub(crate) created_at: i64,
    /// The Job that made it.
    pub(crate) job: usize,
    /// Which attempt of its Job it is, from 0.
    pub(crate) attempt: usize,
    /// The object is there.
    pub(crate) exists: bool,
    /// The Job is still its owner.
    pub(crate) owned: bool,
    /// Its node, once it is bound.
    pub(crate) node: Option<usize>,
    /// It carries a deletion timestamp.
    pub(crate) deleting: bool,
    /// The Job controller has counted it as succeeded or failed.
    pub(crate) counted: bool,
    /// `status`, as last written.
    pub(crate) status: Status,
    /// When the kubelet last wrote it.
    pub(crate) status_written_at: Duration,
    /// What is really there.
    pub(crate) actual: ActualState,
    /// What its chance is drawn from; that of its beats apart, for there are more when nobody answers.
    pub(crate) dice: Dice,
    pub(crate) beat_dice: Dice,
    /// What of it has reached the reaper.
    pub(crate) received: ReceivedSignals,
}

/// `status` of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// `phase`.
    pub(crate) phase: Phase,
    /// `reason`.
    pub(crate) reason: Option<String>,
    /// What is said of the containers.
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

/// What the node has of a pod.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct ActualState {
    /// The kubelet has heard of it.
    pub(crate) known: bool,
    /// The kubelet has been told to end it.
    pub(crate) stopping: bool,
    /// The kubelet has lost sight of it.
    pub(crate) ignored_by_kubelet: bool,
    /// Its sandbox is up.
    pub(crate) sandbox: bool,
    /// The kubelet is about to start something.
    pub(crate) starting: bool,
    /// Counts the reboots that it went through: what was under way before is void.
    pub(crate) life: u32,
    /// Its containers.
    pub(crate) containers: Containers,
    /// From when, and until when, the worker used no CPU time the last time that it did not.
    pub(crate) stalled: Option<(Duration, Option<Duration>)>,
    /// The sidecar was told to go silent.
    pub(crate) silenced: bool,
    /// Its beats stay in the pod.
    pub(crate) blocked: u32,
    /// Which containers, and which of their runs, the agent has seen alive.
    pub(crate) seen: Vec<(usize, u32)>,
    /// The agent need not report it any more.
    pub(crate) unwanted: bool,
    /// When the worker was found to be dead, on the clock of [`crate::laws::signal_clock`].
    pub(crate) dead_since: Option<i64>,
}

/// The containers of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Containers {
    /// Our sidecar.
    pub(crate) sidecar: Option<Container>,
    /// The workload's init container.
    pub(crate) init: Option<Container>,
    /// Those that do the work.
    pub(crate) mains: Vec<Container>,
}

/// A container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Container {
    /// Counts its runs.
    pub(crate) run: u32,
    /// Its state.
    pub(crate) state: Run,
    /// Why it does not start.
    pub(crate) problem: Option<&'static str>,
}

/// The state of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Run {
    /// Has never run.
    #[default]
    Idle,
    /// Runs.
    Running,
    /// Has ended, for good.
    Ended { code: i32, oom: bool },
    /// Has ended, to be started again.
    Restarting { code: i32, oom: bool },
}

impl Container {
    /// Starts it, for the first time or anew.
    pub(crate) fn start(&mut self) {
        *self = Self { run: self.run + 1, state: Run::Running, problem: None };
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

    /// Open, and not being deleted: what the Job controller calls active.
    pub(crate) fn is_active(&self) -> bool {
        self.is_open() && !self.deleting
    }

    /// Processes of the worker run, and none of its containers is still to be started for the first time.
    pub(crate) fn worker_runs(&self) -> bool {
        let mains = &self.actual.containers.mains;
        mains.iter().any(Container::is_running) && mains.iter().all(|main| main.state != Run::Idle)
    }

    /// No main container runs or will be started by the kubelet.
    pub(crate) fn worker_has_ended(&self) -> bool {
        let mains = &self.actual.containers.mains;
        let stopping = self.actual.stopping;
        mains.iter().all(|main| main.has_ended() || (stopping && !main.is_running()))
    }

    /// The phase that its kubelet would write.
    pub(crate) fn true_phase(&self) -> Phase {
        let Containers { sidecar, mains, .. } = &self.actual.containers;
        let bad = |main: &Container| !matches!(main.state, Run::Ended { code: 0, .. });
        // Only once the sidecar has ended too (KEP-753).
        if self.worker_has_ended() && !sidecar.is_some_and(|sidecar| sidecar.is_running()) {
            return if mains.iter().any(bad) { Phase::Failed } else { Phase::Succeeded };
        }
        if mains.iter().any(|main| main.state == Run::Idle) { Phase::Pending } else { Phase::Running }
    }

    /// Milliseconds of CPU time that a main container has used: it works all the time, unless it is stalled.
    pub(crate) fn cpu_ms(&self, now: Duration) -> u64 {
        let until = match self.actual.stalled {
            Some((since, None)) => since,
            Some((_, Some(_))) | None => now,
        };
        until.as_millis().try_into().unwrap_or(u64::MAX)
    }

    /// The runtime's ID of a run; slot 0 is the sandbox, 1 the sidecar, 2 the init container, then the main ones.
    pub(crate) fn container_id(&self, slot: usize, run: u32) -> String {
        format!("{}-{slot}-{run}", self.uid)
    }

    /// Every container that has run, as slot, run and whether it is alive.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (usize, u32, bool)> {
        let Containers { sidecar, init, mains } = &self.actual.containers;
        let sandbox =
            Container { run: 1, state: if self.actual.sandbox { Run::Running } else { Run::Idle }, problem: None };
        let slots = [Some(sandbox), *sidecar, *init].into_iter().chain(mains.iter().copied().map(Some));
        let all: Vec<_> = slots.enumerate().filter_map(|(slot, container)| Some((slot, container?))).collect();
        all.into_iter().filter(|(_, it)| it.run > 0).map(|(slot, it)| (slot, it.run, it.is_running()))
    }
}

/// When the Job controller makes the next attempt after so many failures.
pub(crate) fn backoff(failed: usize) -> Duration {
    if failed == 0 { Duration::ZERO } else { Duration::from_secs(10 << failed.min(5).saturating_sub(1)) }
}
