//! The decision table: the verdicts on a Job and its pods, the signals they rest on, and when to judge again.
//!
//! Everything here is a pure function of values, the time among them: no I/O, no clock, no async, no Kubernetes client.
//! The first row that matches decides; the rows are listed in [`crate::verdict`] and in `docs/decisions.md`.

mod clock;
mod job;
mod pod;
mod stuck;

#[cfg(test)]
mod tests;

pub use crate::timeouts::{
    AGENT_SILENT_AFTER, GONE_REPORTS, LEASE_STALE_AFTER, LEASE_STALE_AFTER_LEAST, NODE_GONE_AFTER, PROCESS_GONE_AFTER,
    REBOOT_REPORTED_AFTER, STUCK_AFTER,
};

use self::{
    clock::Clock,
    job::judge_job,
    pod::judge_pod,
    stuck::{has_failed_container, stuck},
};
use crate::{
    evidence::{AgentObservation, Evidence, LastBeat, PodEvidence},
    moment::Moment,
    policy::Policy,
    timeouts::Timeouts,
    verdict::{JobVerdict, Judgement, PodJudgement},
};

/// The verdicts at `now`, and when time alone may change them.
pub fn judge(evidence: &Evidence, policy: &Policy, now: Moment) -> Judgement {
    judge_by(evidence, policy, Timeouts::of(policy), now)
}

/// The verdicts to expect soon if no further signal arrives: the same table with shorter timeouts. A preview calls lost whatever
/// [`judge`] does, and earlier; a pod that any signal still shows alive is never lost in it. Only for
/// [`crate::guard::Breaker`]: no step follows from such a loss.
pub fn preview(evidence: &Evidence, policy: &Policy, now: Moment) -> Judgement {
    let policy = policy.for_preview();
    judge_by(evidence, &policy, Timeouts::of_preview(&policy), now)
}

/// Whether the evidence about a pod called it lost at an earlier moment already, when it was not being deleted. A signal that came later
/// shows that the worker lived then.
pub(crate) fn is_lost_at(pod: &PodEvidence, listening_since: Moment, policy: &Policy, at: Moment) -> bool {
    let mut before = PodEvidence { terminating: None, ..pod.clone() };
    if matches!(before.agent, AgentObservation::Gone { since, .. } if since > at) {
        before.agent = AgentObservation::Alive { last: at };
    }
    if matches!(before.beat, LastBeat::Ending { last } if last > at) {
        before.beat = LastBeat::Running { last: at };
    }
    judge_pod(&before, listening_since, policy, &Timeouts::of(policy), &mut Clock::new(at)).lost().is_some()
}

fn judge_by(evidence: &Evidence, policy: &Policy, timeouts: Timeouts, now: Moment) -> Judgement {
    let mut clock = Clock::new(now);
    let job = match judge_job(&evidence.job, policy, &mut clock) {
        JobVerdict::Open | JobVerdict::NotStarting if has_failed_container(&evidence.pods, policy) => {
            JobVerdict::ContainerFailed
        }
        verdict => verdict,
    };
    let judged = |pod: &PodEvidence| {
        let verdict = judge_pod(pod, evidence.listening_since, policy, &timeouts, &mut clock);
        let stuck = stuck(pod, verdict, policy, &mut clock);
        PodJudgement { uid: pod.uid.clone(), verdict, stuck }
    };
    let pods = evidence.pods.iter().map(judged).collect();
    Judgement { job, pods, recheck_at: clock.next_change(), judged_at: now }
}
