//! The decision table: what is concluded of a Job and its pods from the evidence, and when to look again.
//!
//! Everything here is a pure function of values, the time among them: no I/O, no clock, no async, no Kubernetes client.
//! The first row that matches decides; the rows stand in [`crate::verdict`] and in `docs/decisions.md`.

use std::time::Duration;

use pod::PodView;

use crate::{
    evidence::{Evidence, JobEvidence, JobStage, NodeEvidence, PodEvidence, PodPhase},
    moment::Moment,
    policy::{Policy, Unseen},
    verdict::{JobVerdict, Judgement, LostReason, PodVerdict},
};

mod pod;
#[cfg(test)]
mod tests;

/// How long a node has to be gone before its pods are lost: time for a re-created node of the same name to show.
pub const NODE_GONE_AFTER: Duration = Duration::from_secs(10);
/// By what part the time for which a sign of life counts is cut when the node is gone. Nobody comes back from there, so a sign
/// need not outlast three missing ones: with the defaults it counts for 25 s, two and a half beats, and the loss is told within 30 s
/// even of a worker that was heard in the instant of its node's deletion.
const CUT_ON_GONE_NODE: u32 = 6;
/// How long the kubelet may go on saying that a container runs whose processes are gone: it relists containers every
/// second and reports within seconds, so a minute is a kubelet that will not.
pub const PROCESS_GONE_AFTER: Duration = Duration::from_mins(1);
/// How long past its grace period a pod may terminate before that is worth telling.
pub const STUCK_AFTER: Duration = Duration::from_mins(1);
/// After how long an agent that does not report counts as silent: three of its reports.
pub const AGENT_SILENT_AFTER: Duration = Duration::from_secs(30);
/// In how many reports in a row the processes have to be missing.
pub const GONE_REPORTS: u32 = 2;
/// After how long without a change a Lease is stale: Kubernetes' own `leaseDurationSeconds` of a node. The kubelet
/// renews at a quarter of it.
pub const LEASE_STALE_AFTER: Duration = Duration::from_secs(40);
/// The least that [`LEASE_STALE_AFTER`] is cut to by a short lost-after: two renewals of the kubelet.
pub const LEASE_STALE_AFTER_LEAST: Duration = Duration::from_secs(20);

/// What is concluded at `now`, and when time alone may change it.
pub fn judge(evidence: &Evidence, policy: &Policy, now: Moment) -> Judgement {
    by_table(evidence, policy, RowTimeouts::NORMAL, now)
}

/// What will be concluded before long if nothing more is heard: the same table with less patience. It calls lost whatever
/// [`judge`] does, and earlier; what any witness still sees it does not. For [`crate::guard::Breaker`] alone: nothing is done
/// about such a loss.
pub fn preview(evidence: &Evidence, policy: &Policy, now: Moment) -> Judgement {
    by_table(evidence, &policy.for_preview(), RowTimeouts::PREVIEW, now)
}

/// For how long a sign of life from that node counts at `now` which counts for `long` from a node that is there: less once the
/// node is gone for [`NODE_GONE_AFTER`].
pub fn life_sign_ttl(long: Duration, node: Option<&NodeEvidence>, now: Moment) -> Duration {
    match node.and_then(|node| node.state.gone_since()) {
        Some(since) if now >= since + NODE_GONE_AFTER => long.saturating_sub(long / CUT_ON_GONE_NODE),
        _ => long,
    }
}

/// For how long a row waits whose wait no policy sets.
#[derive(Clone, Copy, Debug)]
struct RowTimeouts {
    /// See [`PROCESS_GONE_AFTER`].
    process_gone_after: Duration,
    /// See [`LEASE_STALE_AFTER_LEAST`].
    lease_stale_after_least: Duration,
}

impl RowTimeouts {
    const NORMAL: Self =
        Self { process_gone_after: PROCESS_GONE_AFTER, lease_stale_after_least: LEASE_STALE_AFTER_LEAST };
    /// A kubelet that is well has told of the end of a container by then.
    const PREVIEW: Self = Self { process_gone_after: Duration::from_secs(20), lease_stale_after_least: Duration::ZERO };
}

fn by_table(evidence: &Evidence, policy: &Policy, patience: RowTimeouts, now: Moment) -> Judgement {
    let mut clock = Clock { now, next: None };
    let job = judge_job(&evidence.job, policy, &mut clock);
    let pods = evidence
        .pods
        .iter()
        .map(|pod| (pod.uid.clone(), judge_pod(pod, evidence.listening_since, policy, patience, &mut clock)))
        .collect();
    Judgement { job, pods, recheck_at: clock.next }
}

/// Compares times with the present and remembers the earliest comparison that time alone will turn. Since a verdict is a
/// function of the comparisons made, it cannot change before that one does.
struct Clock {
    now: Moment,
    next: Option<Moment>,
}

impl Clock {
    /// Whether `after` has passed since `since`.
    fn passed(&mut self, since: Moment, after: Duration) -> bool {
        let at = since + after;
        if self.now >= at {
            return true;
        }
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        false
    }
}

fn judge_job(job: &JobEvidence, policy: &Policy, clock: &mut Clock) -> JobVerdict {
    match job.stage {
        JobStage::Finished { .. } => JobVerdict::Finished,
        JobStage::Vanished | JobStage::Deleting { .. } => JobVerdict::Deleted,
        _ if job.managed_elsewhere => JobVerdict::Ignored,
        JobStage::Failing { .. } | JobStage::Succeeding => JobVerdict::Ending,
        JobStage::Open if job.suspended => JobVerdict::Paused,
        JobStage::Open if overdue(job, policy, clock) => JobVerdict::Overdue,
        JobStage::Open => match job.podless_since {
            Some(since) if clock.passed(since, policy.start_timeout) => JobVerdict::NotStarting,
            _ => JobVerdict::Open,
        },
    }
}

/// J7.
fn overdue(job: &JobEvidence, policy: &Policy, clock: &mut Clock) -> bool {
    let (Some(active), Some(timeout)) = (job.active, policy.active_timeout) else { return false };
    clock.passed(active.since, timeout.saturating_sub(active.before))
}

fn judge_pod(
    pod: &PodEvidence,
    listening_since: Moment,
    policy: &Policy,
    patience: RowTimeouts,
    clock: &mut Clock,
) -> PodVerdict {
    match pod.phase {
        PodPhase::Succeeded => return PodVerdict::Finishing,
        PodPhase::Failed => return PodVerdict::AttemptFailed,
        PodPhase::Pending | PodPhase::Running => {}
    }
    let (Some(node), Some(bound_since)) = (&pod.node, pod.bound_since) else {
        return judge_unscheduled(pod, policy, clock);
    };
    let mut view = PodView { pod, node, bound_since, listening_since, policy, patience, clock };
    if view.on_gone_node() {
        PodVerdict::Lost(LostReason::NodeGone)
    } else if let Some(verdict) = view.not_starting() {
        verdict
    } else if view.gone_unnoticed() {
        PodVerdict::Lost(LostReason::ProcessGone)
    } else if view.ended_in_silence() {
        PodVerdict::Lost(LostReason::OutcomeUnknown)
    } else if view.stuck() {
        PodVerdict::Stuck
    } else if view.stalled() {
        PodVerdict::Lost(LostReason::Stalled)
    } else if view.beat_fresh() {
        PodVerdict::Alive { without_beat: false }
    } else if view.agent_alive() {
        PodVerdict::Alive { without_beat: view.beat_missing() }
    } else if view.unheard() && view.lease_stale() {
        PodVerdict::Lost(LostReason::NodeUnreachable)
    } else if view.unheard() && view.unseen() && view.has_run() {
        match policy.unseen {
            Unseen::Lost => PodVerdict::Lost(LostReason::HeartbeatLost),
            Unseen::Report => PodVerdict::Unseen,
        }
    } else if view.beat_late() {
        PodVerdict::Suspect
    } else if view.overstays() {
        PodVerdict::Stuck
    } else {
        PodVerdict::Waiting
    }
}

/// P13. Unless the policy says otherwise an unscheduled pod waits for ever: the scheduler may find it a place at any time.
fn judge_unscheduled(pod: &PodEvidence, policy: &Policy, clock: &mut Clock) -> PodVerdict {
    match (pod.unscheduled_since, policy.unscheduled_timeout) {
        (Some(since), Some(timeout)) if pod.terminating.is_none() && clock.passed(since, timeout) => {
            PodVerdict::Lost(LostReason::Unschedulable)
        }
        _ => PodVerdict::Waiting,
    }
}
