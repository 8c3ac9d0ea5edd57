//! What the laws say of one evaluation of a Job, and of the time between two.

use std::time::Duration;

use jobwarden_common::identity::PodUid;
use jobwarden_core::verdict::PodJudgement;
use jobwarden_core::{
    health::NOT_RECEIVING_AFTER,
    judge::judge,
    moment::Moment,
    plan::step::{Removal, Step},
    reconcile::Evaluation,
    snapshot::JobSnapshot,
    verdict::{JobVerdict, Judgement, LostReason},
};

use crate::{
    state::{
        evaluations::{EvaluationRecord, Verdicts},
        laws::Law,
        received_signals::ReceivedSignals,
    },
    world::{Event, World},
};

/// How late a recheck may come: the clock that it is due by may have resumed a moment ago.
const RECHECKED_WITHIN: Duration = Duration::from_secs(3);

/// One evaluation of a Job.
pub(crate) struct EvaluatedJob<'a> {
    pub(crate) reaper: usize,
    pub(crate) job: usize,
    pub(crate) snapshot: &'a JobSnapshot,
    pub(crate) evaluation: &'a Evaluation,
    pub(crate) moment: Moment,
}

impl World<'_> {
    pub(crate) fn check_evaluation(&mut self, evaluated: &EvaluatedJob<'_>) {
        self.count(evaluated);
        self.check_no_running_pod_is_lost(evaluated);
        self.check_guards(evaluated);
        self.check_membership(evaluated);
        self.check_retries_go_elsewhere(evaluated);
        self.check_breaker(evaluated);
        self.check_nothing_is_early(evaluated);
        self.check_waiting_is_no_failure(evaluated);
        self.check_recheck_at(evaluated);
        self.end_waits(evaluated.job, &evaluated.evaluation.judgement);
        let verdicts = Verdicts::of(&evaluated.evaluation.judgement);
        self.log_changes(evaluated, &verdicts);
        let record = &mut self.reapers[evaluated.reaper].evaluations[evaluated.job];
        *record = EvaluationRecord { last: Some(verdicts), changed_since: None, retrying: false };
    }

    fn count(&mut self, evaluated: &EvaluatedJob<'_>) {
        let Evaluation { judgement, held, .. } = evaluated.evaluation;
        self.statistics.evaluations += 1;
        if let Some(row) = judgement.job.row() {
            *self.statistics.rows.entry(row.as_str()).or_default() += 1;
        }
        if judgement.job == JobVerdict::Open {
            for PodJudgement { verdict, stuck, .. } in &judgement.pods {
                *self.statistics.rows.entry(verdict.row().as_str()).or_default() += 1;
                if let Some(stuck) = stuck {
                    *self.statistics.rows.entry(stuck.row().as_str()).or_default() += 1;
                }
                if let Some(reason) = verdict.lost() {
                    *self.statistics.lost.entry(reason.as_str()).or_default() += 1;
                }
            }
        }
        if let Some(hold) = held {
            *self.statistics.holds.entry(hold.as_str()).or_default() += 1;
        }
    }

    fn log_changes(&mut self, evaluated: &EvaluatedJob<'_>, now: &Verdicts) {
        let EvaluatedJob { reaper, job, .. } = *evaluated;
        let before = self.reapers[reaper].evaluations[job].last.clone();
        if before.as_ref().map(|before| before.job) != Some(now.job) {
            self.log(|| format!("job-{job} is judged {:?}", now.job));
        }
        for (pod, verdict) in &now.pods {
            let was = before.as_ref().and_then(|before| before.pods.iter().find(|(uid, _)| uid == pod));
            if was.map(|(_, was)| was) != Some(verdict) {
                self.log(|| {
                    let hold = evaluated.evaluation.held;
                    let held = hold.map(|hold| format!(", held: {hold}")).unwrap_or_default();
                    format!("pod {pod} is judged {verdict:?}{held}")
                });
            }
        }
    }

    /// A pod is not lost while its last beat is not late or its agent is not silent; unless one of its main containers was never
    /// started, which row P3 is about.
    ///
    /// Measured in real time since the signal arrived, of which the reaper's clock never counts more.
    fn check_no_running_pod_is_lost(&mut self, evaluated: &EvaluatedJob<'_>) {
        let policy = self.history.jobs[evaluated.job].policy;
        for PodJudgement { uid, verdict, .. } in &evaluated.evaluation.judgement.pods {
            // That a stalled pod really is stalled, `check_nothing_is_early` makes sure.
            let Some(reason) = verdict.lost().filter(|reason| *reason != LostReason::Stalled) else { continue };
            let Some(pod) = self.pods.iter().position(|pod| pod.uid == *uid) else { continue };
            let it = &self.pods[pod];
            // P3 goes by the status that the kubelet has written, and that takes a moment to arrive.
            let status_has_arrived = it.status.containers.mains.iter().all(|main| main.run > 0)
                && self.now.saturating_sub(it.status_written_at) >= Duration::from_secs(1)
                && self.cluster.reapers_reach_api()
                && self.reapers[evaluated.reaper].watches_are_up();
            let not_started = matches!(
                reason,
                LostReason::ImagePullFailed
                    | LostReason::CreateFailed
                    | LostReason::StartTimeout
                    | LostReason::InitTimeout
            );
            if not_started && !status_has_arrived {
                continue;
            }
            let are_fresh = match reason {
                LostReason::NodeGone => ReceivedSignals::are_fresh_on_gone_node,
                _ => ReceivedSignals::are_fresh,
            };
            if it.worker_runs() && are_fresh(&it.received, self.now, policy.suspect_after, policy.lost_after) {
                let how = format!("pod {uid} runs and its signals are fresh, but it is judged {reason}");
                self.break_law(Law::NoRunningPodIsLost, how);
            }
        }
    }

    /// Computed from the truth: a watch that is known to be down holds everything; a term that is younger than lost-after, or an own
    /// beat that has been missing for 15 s, holds what rests on silence, and nothing else.
    fn check_guards(&mut self, evaluated: &EvaluatedJob<'_>) {
        let Evaluation { judgement, holds, steps, .. } = evaluated.evaluation;
        let it = &self.reapers[evaluated.reaper];
        let lost_after = self.history.jobs[evaluated.job].policy.lost_after;
        let silence = if self.now.saturating_sub(it.led_since) < lost_after {
            Some("the term is younger than lost-after")
        } else if it.own_beat.is_none_or(|at| self.now.saturating_sub(at) >= NOT_RECEIVING_AFTER) {
            Some("the own beat is missing")
        } else {
            None
        };
        let objects = (!it.watches_are_up()).then_some("a watch is down");
        let verdict =
            |pod: &PodUid| judgement.pods.iter().find(|judged| judged.uid == *pod).and_then(|it| it.verdict.lost());
        let guard = |pod: &PodUid| match verdict(pod) {
            Some(reason) => objects.or(silence.filter(|_| rests_on_silence(reason))),
            None => objects,
        };
        let lost = judgement.pods.iter().filter_map(|pod| Some((&pod.uid, pod.verdict.lost()?)));
        let unheld = lost.clone().find(|(pod, reason)| guard(pod).is_some() && holds.of(pod, *reason).is_none());
        let overheld = lost
            .clone()
            .find(|(pod, reason)| !rests_on_silence(*reason) && objects.is_none() && holds.of(pod, *reason).is_some());
        let written = steps.iter().find_map(|step| match step {
            Step::FailJob { pod, .. }
            | Step::DeletePod { pod, why: Removal::Lost }
            | Step::MarkPodFailed { pod, .. }
            | Step::ForceDeletePod { pod } => Some((step.as_str(), guard(&pod.uid)?)),
            _ => None,
        });
        if let Some((pod, reason)) = unheld {
            let how = format!("pod {pod} is lost ({reason}): {}, and no guard holds", guard(pod).unwrap_or_default());
            self.break_law(Law::GuardsHold, how);
        } else if let Some((pod, reason)) = overheld {
            self.break_law(Law::GuardsHold, format!("the loss of {pod} ({reason}) rests on objects, and is held"));
        } else if let Some((step, guard)) = written {
            self.break_law(Law::GuardsHold, format!("job-{}: {guard}, and the step {step} is planned", evaluated.job));
        }
    }

    /// The same evidence gives the same verdicts until the very moment that the judgement names.
    fn check_recheck_at(&mut self, evaluated: &EvaluatedJob<'_>) {
        let Judgement { job, pods, recheck_at, .. } = &evaluated.evaluation.judgement;
        let far = Duration::from_hours(1_000);
        let span = recheck_at.map_or(far, |next| next.since(evaluated.moment));
        let part = self.laws.dice.below(1_000);
        let last = span.saturating_sub(Duration::from_nanos(1));
        let sometime = (span / 1_000 * u32::try_from(part).unwrap_or(0)).min(last);
        for after in [sometime, last] {
            let JobSnapshot { evidence, policy, .. } = evaluated.snapshot;
            let again = judge(evidence, policy, evaluated.moment + after);
            if again.job != *job || again.pods != *pods || again.recheck_at != *recheck_at {
                let how =
                    format!("job-{}: judged again {after:?} later: {pods:?} became {:?}", evaluated.job, again.pods);
                return self.break_law(Law::EveryChangeIsEvaluated, how);
            }
        }
        if recheck_at.is_some_and(|next| next <= evaluated.moment) {
            let how = format!("job-{}: the recheck is not in the future", evaluated.job);
            self.break_law(Law::EveryChangeIsEvaluated, how);
        }
    }

    /// Between evaluations: the latest evidence gives the verdicts of the last evaluation, unless one is due.
    pub(crate) fn probe(&mut self) {
        let next = self.laws.dice.seconds(15, 45);
        self.after(next, Event::Probe);
        self.breaker_may_hold(); // Remembers that it may, for a while.
        let Some(leader) = self.leader().filter(|&leader| self.reapers[leader].signals.synced()) else { return };
        let at = self.instant();
        self.observe(leader, |_, _| {}); // Detects a change of the signal health, as any arrival does.
        let moment = self.reapers[leader].signals.now(at);
        for job in 0..self.jobs.len() {
            self.check_no_finalizer_is_left_behind(job);
            let it = &self.reapers[leader];
            let record = &it.evaluations[job];
            if it.is_executing(job) || record.awaits_evaluation(self.now) {
                continue;
            }
            let Some((evidence, policy)) = it.evidence(&self.jobs[job].uid) else { continue };
            let judgement = judge(&evidence, &policy, moment);
            let last = record.last.as_ref();
            let recheck_at = last.and_then(|last| last.recheck_at);
            let due = recheck_at.is_some_and(|next| next <= moment && moment < next + RECHECKED_WITHIN);
            let same =
                last.is_some_and(|last| (last.job, &last.pods) == (judgement.job, &Verdicts::of(&judgement).pods));
            if !same && !due {
                let how = format!("job-{job} is {judgement:?} now, and no evaluation has found it");
                return self.break_law(Law::EveryChangeIsEvaluated, how);
            }
            self.check_nothing_waits_forever(job, &judgement);
            self.check_stuck_states_are_reported(job, &judgement);
            self.check_nothing_is_late(job, &judgement);
        }
    }
}

/// Whether a loss rests on signals that are missing, and not on objects.
pub(crate) fn rests_on_silence(reason: LostReason) -> bool {
    let by_silence = ["NodeUnreachable", "HeartbeatLost", "OutcomeUnknown", "ProcessGone", "Stalled"];
    by_silence.contains(&reason.as_str())
}

/// Whether it is the reason of a verdict of the reaper.
pub(crate) fn is_ours(reason: &str) -> bool {
    jobwarden_common::names::reason::LOST.contains(&reason)
}
