//! Outcomes: never two that differ, never one that contradicts the cluster, and the same with and without a restart.

use std::time::Duration;

use jobwarden_common::{
    identity::PodUid,
    names::reason,
    notification::{OutcomeData, OutcomeKind},
};
use jobwarden_core::outcome::OutcomeName;

use super::evaluations::is_ours;
use crate::{
    history::History,
    state::{
        job::{Ending, Job},
        laws::{End, FinalState, Law, Violation},
        pod::{Phase, Pod},
    },
    world::World,
};

/// Reasons for one and the same silence, the most precise last: a Job may be failed with a more precise reason than its attempt
/// was, but not with a different one.
const BY_DETAIL: [&str; 4] =
    [reason::HEARTBEAT_LOST, reason::NODE_UNREACHABLE, reason::OUTCOME_UNKNOWN, reason::NODE_GONE];

fn refines(before: &str, after: &str) -> bool {
    let rank = |reason: &str| BY_DETAIL.iter().position(|word| *word == reason);
    before == after || rank(before).zip(rank(after)).is_some_and(|(before, after)| before < after)
}

/// How old the last signal of a pod may be that has recovered: suspect-after, or the report of an agent, and the steps.
const LAST_SIGNAL_MS: i64 = 36_000;

/// Reasons of losses on a node that works. If the node goes silent while it ends the pod, the Job is stranded, and is failed for that.
const ON_A_WORKING_NODE: [&str; 5] =
    [reason::STALLED, reason::INIT_TIMEOUT, reason::START_TIMEOUT, reason::IMAGE_PULL_FAILED, reason::CREATE_FAILED];

/// Whether a Job may be lost for the second reason after its attempt was lost for the first.
fn strands(before: &str, after: &str) -> bool {
    ON_A_WORKING_NODE.contains(&before) && [reason::NODE_UNREACHABLE, reason::OUTCOME_UNKNOWN].contains(&after)
}

impl World<'_> {
    /// An outcome is recorded.
    pub(crate) fn check_outcome(&mut self, job: usize, name: &OutcomeName, data: &OutcomeData) {
        *self.statistics.outcomes.entry(data.kind.as_str()).or_default() += 1;
        self.check_outcome_is_ours(job, data);
        let pod = data.attempt.as_ref().map(|attempt| attempt.pod_uid.clone());
        let wrong = match data.kind {
            OutcomeKind::Suspect => None,
            OutcomeKind::AttemptFailed => self.check_attempt_outcome(job, pod, &data.reason),
            OutcomeKind::Recovered => self.check_recovery(job, pod),
            _ => self.check_final_outcome(job, pod, data),
        };
        if let Some(wrong) = wrong {
            self.break_law(
                Law::OneFinalVerdict,
                format!("{name}: {} with reason {}, but {wrong}", data.kind, data.reason),
            );
        }
    }

    fn check_attempt_outcome(&mut self, job: usize, pod: Option<PodUid>, reason: &str) -> Option<String> {
        let Some(pod) = pod else { return Some("of no pod".to_owned()) };
        // A kubelet that returns in the moment in which a lost pod is deleted may still report that it has succeeded.
        let is_late = |it: &Pod| it.deleted_by_reaper.is_some() && it.status_written_at >= it.deleted_at;
        let succeeded = |it: &Pod| it.uid == pod && it.status.phase == Phase::Succeeded && !is_late(it);
        if self.pods.iter().any(succeeded) {
            return Some(format!("pod {pod} has succeeded"));
        }
        if self.pods.iter().any(|it| it.uid == pod && it.dropped) && !self.history.jobs[job].replaces_only_failed {
            return Some(format!("Kubernetes has replaced pod {pod}"));
        }
        let before = self.laws.records[job].attempts.insert(pod, reason.to_owned());
        before.map(|before| format!("it was {before} before"))
    }

    /// A pod that has recovered was reported before, and a signal of it has just arrived. Its loss, if that was reported, is no verdict any
    /// more.
    fn check_recovery(&mut self, job: usize, pod: Option<PodUid>) -> Option<String> {
        let Some(uid) = pod else { return Some("of no pod".to_owned()) };
        let Some(pod) = self.pods.iter().find(|it| it.uid == uid) else { return Some("of an unknown pod".to_owned()) };
        let last = pod.received.any_at.max(pod.received.alive_at);
        let silent = self.laws.signal_clock.at(self.now) - last;
        self.laws.records[job].attempts.remove(&uid);
        let reported = self.jobs[job].outcomes.keys().any(|name| !name.as_str().contains(".recovered"));
        match (reported, silent > LAST_SIGNAL_MS) {
            (false, _) => Some("nothing was reported before".to_owned()),
            (_, true) => Some(format!("the last signal of pod {uid} arrived {silent} ms ago")),
            _ => None,
        }
    }

    /// A final outcome agrees with the Job, and with the outcome of the attempt that it names.
    fn check_final_outcome(&mut self, job: usize, pod: Option<PodUid>, data: &OutcomeData) -> Option<String> {
        let now = self.now;
        let it = &self.jobs[job];
        let ending = it.ending.clone();
        let agrees = match (data.kind, &ending) {
            (OutcomeKind::Succeeded, Some(Ending::Complete)) => true,
            (OutcomeKind::Failed, Some(Ending::Failed(by))) => !is_ours(by),
            // The loss stands although the API server refuses to fail the Job.
            (OutcomeKind::Lost, None) if is_ours(&data.reason) => it.writes_refused > 0,
            (OutcomeKind::Lost, Some(Ending::Failing(by) | Ending::Failed(by))) if *by == data.reason => is_ours(by),
            (OutcomeKind::Lost | OutcomeKind::Deleted, _) => {
                data.reason == reason::JOB_DELETED && (it.deleting || !it.exists) && !it.has_finished()
            }
            _ => false,
        };
        let record = &mut self.laws.records[job];
        if let Some((before, _)) = record.last.replace((data.kind, now)) {
            return Some(format!("it was {before} before"));
        }
        let of_attempt = pod.and_then(|pod| record.attempts.get(&pod)).filter(|before| {
            data.kind == OutcomeKind::Lost
                && is_ours(&data.reason)
                && !refines(before, &data.reason)
                && !strands(before, &data.reason)
        });
        match of_attempt {
            Some(before) => Some(format!("its attempt was {before} before")),
            None if agrees => None,
            None => Some(format!("the Job is {ending:?}")),
        }
    }

    /// The final state of each Job.
    pub(crate) fn final_states(&self) -> Vec<FinalState> {
        let final_state = |(number, job): (usize, &Job)| FinalState {
            end: match job.ending {
                Some(Ending::Complete) => End::Complete,
                Some(Ending::Failed(_)) => End::Failed,
                _ if job.deleting => End::Deleted,
                _ => End::Open,
            },
            decided_at: self.laws.records[number].last.map(|(_, at)| at).into_iter().chain(job.ending_since).min(),
            attempts: job.attempts.len(),
        };
        self.jobs.iter().enumerate().map(final_state).collect()
    }
}

/// With and without a restart every Job ends the same way, and that is decided at most later by the cost of the restart:
/// the gap of a minute and lost-after of warm-up, for each attempt that was running. What might come after the end of a history
/// is not compared, nor is a Job that a later fault may have caught in the time by which the restart delays it: that fault, and
/// not the restart, then decides how it ends.
pub(crate) fn compare(history: &History, without: &[FinalState], with: &[FinalState]) -> Option<Violation> {
    for (job, (without, with)) in without.iter().zip(with).enumerate() {
        let attempts = u32::try_from(without.attempts.max(with.attempts) + 1).unwrap_or(u32::MAX);
        let bound = (history.jobs[job].policy.lost_after + Duration::from_mins(1)) * attempts;
        let Some(first) = without.decided_at.into_iter().chain(with.decided_at).min() else { continue };
        let differs = match (without.decided_at, with.decided_at) {
            (Some(before), Some(after)) => without.end != with.end || after > before + bound,
            _ => first + bound < history.until,
        };
        if differs && !history.faults.iter().any(|fault| fault.at > first && fault.at <= first + bound) {
            let how = format!("job-{job} ends with a restart as {with:?} and without as {without:?}");
            return Some(Violation { at: with.decided_at.unwrap_or_default(), law: Law::RestartsChangeNoOutcome, how });
        }
    }
    None
}
