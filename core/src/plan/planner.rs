//! What follows from a judgement: pure, so that it can be tried in tables.

use std::collections::BTreeSet;

use jobwarden_common::{identity::PodUid, names::reason, notification::OutcomeData};

use super::{
    draft::{Drafter, lost_reason},
    step::{Draft, Notice, NoticeKey, PodRef, Recorded, Removal, Step},
};
use crate::{
    evidence::{AgentObservation, Finish, JobStage, LastBeat, PodEvidence, PodPhase, Retries, Sidecar, Terminating},
    guard::Hold,
    judge::{GONE_REPORTS, STUCK_AFTER},
    moment::Moment,
    outcome::OutcomeName,
    policy::{NotStarting, OnLost},
    snapshot::JobSnapshot,
    verdict::{EndReason, JobVerdict, Judgement, LostReason, PodVerdict},
};

/// The steps that follow at `now` from the judgement of a snapshot, in the order in which they are to be taken.
///
/// What has been recorded already is not recorded again, but writes to Job and pods are planned for as long as the
/// evidence does not show them: the steps themselves find out what is left to do.
pub fn plan(
    snapshot: &JobSnapshot,
    judgement: &Judgement,
    hold: Option<Hold>,
    recorded: &Recorded,
    now: Moment,
) -> Vec<Step> {
    let mut planner = Planner {
        snapshot,
        judgement,
        hold,
        recorded,
        now,
        drafter: Drafter { snapshot, now },
        steps: Vec::new(),
        so: BTreeSet::new(),
    };
    match judgement.job {
        JobVerdict::Finished => planner.finished(),
        JobVerdict::Deleted => planner.deleted(),
        JobVerdict::Ignored => {}
        JobVerdict::Ending => planner.ending(),
        JobVerdict::Paused => planner.unstick(),
        JobVerdict::Overdue => planner.overdue(),
        JobVerdict::NotStarting => planner.not_starting(),
        JobVerdict::Open => planner.pods(),
    }
    planner.calm();
    planner.steps
}

/// When time alone may make another plan of the same evidence, beside what the judgement itself says.
pub fn requeue_at(snapshot: &JobSnapshot, judgement: &Judgement, hold: Option<Hold>, now: Moment) -> Option<Moment> {
    let evidence = &snapshot.evidence;
    let retention = match evidence.job.stage {
        JobStage::Finished { since, .. } => Some(since + snapshot.policy.retention),
        _ => None,
    };
    let warm = match hold {
        Some(Hold::WarmUp { until }) => Some(until),
        _ => None,
    };
    let leftovers = evidence.pods.iter().filter_map(|pod| pod.terminating).map(leftover_at);
    let moments = judgement.recheck_at.into_iter().chain(retention).chain(warm).chain(leftovers);
    moments.filter(|at| *at > now).min()
}

/// When a pod that has ended but still exists counts as left over.
fn leftover_at(terminating: Terminating) -> Moment {
    terminating.since + terminating.grace + STUCK_AFTER
}

struct Planner<'a> {
    snapshot: &'a JobSnapshot,
    judgement: &'a Judgement,
    hold: Option<Hold>,
    recorded: &'a Recorded,
    now: Moment,
    drafter: Drafter<'a>,
    steps: Vec<Step>,
    /// What Events are to tell as long as it is so.
    so: BTreeSet<NoticeKey>,
}

impl<'a> Planner<'a> {
    /// J1.
    fn finished(&mut self) {
        let job = &self.snapshot.evidence.job;
        let JobStage::Finished { since, finish } = &job.stage else { return };
        let outcome = OutcomeName::job_final(&job.identity.uid);
        self.record(outcome.clone(), |drafter| match finish {
            Finish::Complete => drafter.succeeded(),
            Finish::Failed { reason, message } => drafter.failed(JobVerdict::Finished, reason, message),
        });
        if job.has_finalizer {
            self.steps.push(Step::ReleaseFinalizer);
        }
        self.unstick();
        let kept = self.now.since(*since) < self.snapshot.policy.retention;
        let delivered = self.recorded.has(&outcome) && self.recorded.settled();
        if !kept && delivered && !job.owned && !job.has_ttl {
            self.steps.push(Step::DeleteJob);
        }
    }

    /// J2.
    fn deleted(&mut self) {
        let job = &self.snapshot.evidence.job;
        let outcome = OutcomeName::job_final(&job.identity.uid);
        if !self.recorded.has(&outcome) {
            self.steps.push(Step::ConfirmDeleted);
        }
        self.record(outcome, Drafter::deleted);
        if job.stage != (JobStage::Deleting { orphaning: true }) {
            self.delete_pods(Removal::JobDeleted);
        }
        self.unstick();
        if job.stage == JobStage::Vanished {
            self.steps.push(Step::Forget);
        } else if job.has_finalizer {
            self.steps.push(Step::ReleaseFinalizer);
        }
    }

    /// J4. Where the verdict is ours, it may be that what wrote it did not live to record it. What the Job controller does for
    /// a Job is done here for a bare pod, whose failing is by us alone.
    fn ending(&mut self) {
        let job = &self.snapshot.evidence.job;
        let is_bare = job.identity.is_bare();
        if let JobStage::Failing { reason, message } = &job.stage
            && (is_bare || lost_reason(reason).is_some())
        {
            let outcome = OutcomeName::job_final(&job.identity.uid);
            self.record(outcome, |drafter| drafter.failed(JobVerdict::Ending, reason, message));
        }
        if is_bare {
            self.delete_pods(Removal::Failing);
        }
        self.unstick();
    }

    /// Deletes what has not ended and is not being deleted.
    fn delete_pods(&mut self, why: Removal) {
        let left = self.snapshot.evidence.pods.iter().filter(|pod| !ended(pod) && pod.terminating.is_none());
        self.steps.extend(left.map(|pod| Step::DeletePod { pod: pod.into(), why }));
    }

    /// J7. No guard for losses holds it, for nothing that was not heard counts; but what is known of the Job has to be fresh.
    fn overdue(&mut self) {
        if self.hold != Some(Hold::WatchDown) {
            let message = self.drafter.overdue_sentence();
            self.end(EndReason::DeadlineExceeded, message);
        }
    }

    /// J6.
    fn not_starting(&mut self) {
        if self.snapshot.policy.not_starting == NotStarting::Fail && self.hold.is_none() {
            let message = self.drafter.not_starting_sentence();
            return self.end(EndReason::NotStarting, message);
        }
        let outcome = OutcomeName::job_suspect(&self.snapshot.evidence.job.identity.uid);
        let data = self.record(outcome, Drafter::not_starting);
        self.tell(None, reason::NOT_STARTING, data.message);
        self.pods();
    }

    /// Fails a Job for itself. Its outcome is recorded once Kubernetes has ended it, like that of any Job that failed.
    fn end(&mut self, reason: EndReason, message: String) {
        if !self.snapshot.evidence.job.started {
            return; // See `lost`.
        }
        self.steps.push(Step::EndJob { reason, message: message.clone() });
        self.tell(None, reason.as_str(), message);
    }

    /// What the pods of a Job call for that is not ending.
    fn pods(&mut self) {
        for (pod, verdict) in self.judged() {
            // What is left of an attempt that was given up has been told to go silent.
            let over = self.recorded.has(&OutcomeName::attempt_failed(&pod.uid));
            match verdict {
                PodVerdict::Lost(reason) => {
                    if self.lost(pod, reason) {
                        return;
                    }
                }
                PodVerdict::Alive { .. } | PodVerdict::Unseen | PodVerdict::Suspect if over => self.abandon(&pod.uid),
                PodVerdict::Alive { without_beat: true } if pod.sidecar == Sidecar::Absent => {
                    let message = format!(
                        "Pod {} has no sidecar, for admission missed it; only the node's agent can tell that it lives.",
                        pod.name
                    );
                    self.tell(Some(pod), reason::SIDECAR_MISSING, message);
                }
                PodVerdict::SidecarBlocks | PodVerdict::Alive { without_beat: true } => {
                    let message = format!("Pod {}: {}.", pod.name, self.drafter.witnesses(pod));
                    self.tell(Some(pod), reason::SIDECAR_FAULT, message);
                }
                PodVerdict::Stuck => {
                    let message = format!("Pod {} does not terminate: {}.", pod.name, self.drafter.witnesses(pod));
                    self.tell(Some(pod), reason::STUCK, message);
                }
                PodVerdict::Unseen if self.node_outlived_the_beat(pod) => {
                    let data = self.record(OutcomeName::pod_suspect(&pod.uid), |drafter| drafter.unseen(pod));
                    self.tell(Some(pod), reason::UNSEEN, data.message);
                }
                PodVerdict::Suspect => {
                    if self.snapshot.policy.notify_late {
                        self.record(OutcomeName::pod_late(&pod.uid), |drafter| drafter.late(pod));
                    }
                    self.tell(Some(pod), reason::SUSPECT, self.drafter.late_sentence(pod));
                }
                PodVerdict::Finishing | PodVerdict::AttemptFailed => self.remove_leftover(pod),
                PodVerdict::Alive { without_beat: false } | PodVerdict::Unseen | PodVerdict::Waiting => {}
            }
            if matches!(verdict, PodVerdict::Alive { .. }) {
                self.heard_again(pod, over);
            }
        }
    }

    /// Whether the node has renewed its Lease since the beat expired. Of a node that died with its pods, the Lease is fresh for
    /// a moment longer: nobody needs to be told of what is a loss by the time they read it. The judge has this looked at
    /// again when the Lease would be stale.
    fn node_outlived_the_beat(&self, pod: &PodEvidence) -> bool {
        let silent_since = match (pod.beat, pod.sidecar) {
            (LastBeat::Running { last } | LastBeat::Ending { last }, _) => Some(last),
            (LastBeat::None, Sidecar::Started(at)) => Some(at),
            (LastBeat::None, Sidecar::Absent) => pod.ran_since.or(pod.bound_since),
            (LastBeat::None, Sidecar::NotStarted) => pod.bound_since,
        };
        let silent_since = silent_since.map(|at| at.max(self.snapshot.evidence.listening_since));
        let expired = silent_since.map(|since| since + self.snapshot.policy.lost_after);
        pod.node.as_ref().zip(expired).is_some_and(|(node, expired)| node.lease_changed >= expired)
    }

    /// A lost pod of an open Job. Whether the Job is failed for it, so that its other pods need no steps.
    fn lost(&mut self, pod: &'a PodEvidence, reason: LostReason) -> bool {
        let job = &self.snapshot.evidence.job;
        let hold = self.hold.filter(|_| self.holds(reason));
        if hold.is_some() || self.snapshot.policy.on_lost == OnLost::Report {
            self.keep(pod, reason, hold);
            return false;
        }
        if !self.fails_job(pod) {
            self.remove(pod, reason);
            return false;
        }
        // Nothing can be failed that the Job controller has not taken up; it will in a moment, and this runs again.
        if !job.started {
            return false;
        }
        let message = self.drafter.lost_sentence(pod, reason);
        self.steps.push(Step::FailJob { pod: pod.into(), reason, message: message.clone() });
        self.record(OutcomeName::job_final(&job.identity.uid), |drafter| drafter.lost(pod, reason));
        self.abandon(&pod.uid);
        self.tell(Some(pod), reason.as_str(), message);
        true
    }

    /// Whether the loss of this pod fails its Job.
    fn fails_job(&self, pod: &PodEvidence) -> bool {
        match self.snapshot.policy.on_lost {
            OnLost::Fail => true,
            OnLost::Report => false,
            OnLost::Retry => self.snapshot.evidence.job.retries == Retries::Exhausted && !self.left_to_the_job(pod),
        }
    }

    /// Whether the Job's own count of failures includes this pod already, for it is being deleted (`isPodFailed` in
    /// `pkg/controller/job`), so that "no retries left" does not mean it: the Job has failed by that, or has made another.
    fn left_to_the_job(&self, pod: &PodEvidence) -> bool {
        pod.terminating.is_some() && !self.snapshot.evidence.job.replaces_only_failed
    }

    /// Nothing is done about a lost pod, by policy or because a guard holds.
    fn keep(&mut self, pod: &'a PodEvidence, reason: LostReason, hold: Option<Hold>) {
        // A pod whose loss has been told as a failed attempt is no suspect any more.
        if self.recorded.has(&OutcomeName::attempt_failed(&pod.uid)) {
            return;
        }
        let data = self.record(OutcomeName::pod_suspect(&pod.uid), |drafter| drafter.lost_but_kept(pod, reason, hold));
        let word = if hold.is_some() { reason::HELD } else { reason.as_str() };
        self.tell(Some(pod), word, data.message);
    }

    /// A lost pod is removed, and its Job decides on a retry.
    fn remove(&mut self, pod: &'a PodEvidence, reason: LostReason) {
        if pod.terminating.is_none() {
            self.steps.push(Step::DeletePod { pod: pod.into(), why: Removal::Lost });
        }
        self.give_up(pod, reason, false);
        self.record(OutcomeName::attempt_failed(&pod.uid), |drafter| drafter.attempt_failed(pod, reason));
        self.abandon(&pod.uid);
        self.tell(Some(pod), reason.as_str(), self.drafter.lost_sentence(pod, reason));
    }

    /// Lost pods that terminate would do so for as long as their nodes are away.
    fn unstick(&mut self) {
        let ending = matches!(self.judgement.job, JobVerdict::Ending | JobVerdict::Finished);
        for (pod, verdict) in self.judged() {
            match verdict {
                PodVerdict::Lost(reason) if pod.terminating.is_some() && !self.holds(reason) => {
                    self.give_up(pod, reason, ending);
                    self.abandon(&pod.uid);
                }
                PodVerdict::Finishing | PodVerdict::AttemptFailed => self.remove_leftover(pod),
                _ => {}
            }
        }
    }

    /// Calls a lost pod Failed where that cannot make two of it, and removes it where its processes are known to be gone.
    /// Of an `ending` Job there will be no second pod.
    fn give_up(&mut self, pod: &PodEvidence, reason: LostReason, ending: bool) {
        let gone = reason.fenced() || agent_says_gone(pod);
        let unreachable = matches!(reason, LostReason::NodeUnreachable | LostReason::OutcomeUnknown);
        // Its kubelet, which is well, ends a stalled pod.
        let safe = self.snapshot.evidence.job.safe_to_duplicate && reason != LostReason::Stalled;
        if gone || (ending && unreachable) || safe {
            let message = format!("Given up by jobwarden. {}", self.drafter.lost_sentence(pod, reason));
            self.steps.push(Step::MarkPodFailed { pod: pod.into(), reason, message });
        }
        if gone {
            self.steps.push(Step::ForceDeletePod { pod: pod.into() });
        }
    }

    /// A pod that was given up but not removed: what gave it up may not have lived to remove it.
    fn remove_leftover(&mut self, pod: &PodEvidence) {
        let Some(terminating) = pod.terminating.filter(|_| pod.phase == PodPhase::Failed) else { return };
        let Some(reason) = pod.cause.reason.as_deref().and_then(lost_reason) else { return };
        let gone = reason.fenced() || agent_says_gone(pod);
        if gone && !self.holds(reason) && self.now >= leftover_at(terminating) {
            self.steps.push(Step::ForceDeletePod { pod: pod.into() });
        }
    }

    fn holds(&self, reason: LostReason) -> bool {
        self.hold.is_some_and(|hold| hold.holds(reason))
    }

    fn judged(&self) -> Vec<(&'a PodEvidence, PodVerdict)> {
        let verdict = |pod: &PodEvidence| self.judgement.pods.iter().find(|(uid, _)| *uid == pod.uid);
        let pods = self.snapshot.evidence.pods.iter();
        pods.filter_map(|pod| verdict(pod).map(|(_, verdict)| (pod, *verdict))).collect()
    }

    /// Has an outcome recorded unless it has been; what it says either way.
    fn record(&mut self, name: OutcomeName, data: impl FnOnce(&Drafter<'a>) -> OutcomeData) -> OutcomeData {
        let data = data(&self.drafter);
        if !self.recorded.has(&name) {
            self.steps.push(Step::Record(Box::new(Draft { name, data: data.clone() })));
        }
        data
    }

    fn tell(&mut self, pod: Option<&PodEvidence>, reason: &'static str, message: String) {
        let notice = Notice { pod: pod.map(PodRef::from), reason, message };
        let key = notice.key();
        if !self.recorded.notified.contains(&key) {
            self.steps.push(Step::RecordEvent(notice));
        }
        self.so.insert(key);
    }

    /// A pod that lives is news where the contrary was told; `over` if its loss has been recorded, which stands.
    fn heard_again(&mut self, pod: &PodEvidence, over: bool) {
        let told =
            |of: &str| self.recorded.notified.iter().any(|(uid, word)| uid.as_ref() == Some(&pod.uid) && *word == of);
        let doubted =
            [reason::SUSPECT, reason::UNSEEN, reason::HELD].iter().chain(&reason::LOST).any(|word| told(word));
        // What is ended for being stalled lives until its grace is over.
        let stalled = (Some(pod.uid.clone()), reason::STALLED);
        if self.recorded.notified.contains(&stalled) {
            self.so.insert(stalled);
        } else if doubted || over {
            let message = self.drafter.heard_again_sentence(pod, over);
            self.tell(Some(pod), reason::HEARTBEAT_RESUMED, message);
        }
    }

    /// What was told and is not so any more may be told again when it comes again.
    fn calm(&mut self) {
        let over = self.recorded.notified.difference(&self.so).cloned();
        self.steps.extend(over.map(Step::ClearNotice));
    }

    fn abandon(&mut self, pod: &PodUid) {
        if !self.recorded.abandoned.contains(pod) {
            self.steps.push(Step::Abandon(pod.clone()));
        }
    }
}

fn ended(pod: &PodEvidence) -> bool {
    matches!(pod.phase, PodPhase::Succeeded | PodPhase::Failed)
}

fn agent_says_gone(pod: &PodEvidence) -> bool {
    matches!(pod.agent, AgentObservation::Gone { reports, .. } if reports >= GONE_REPORTS)
}

#[cfg(test)]
mod tests;
