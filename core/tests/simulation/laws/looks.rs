//! What the laws say of one look at a Job, and of the time between two.

use std::time::Duration;

use jobwarden_common::identity::PodUid;
use jobwarden_core::{
    enforce::{Removal, Step},
    guard::Hold,
    health::DEAF_AFTER,
    judge::{STUCK_AFTER, judge},
    moment::Moment,
    snapshot::JobSnapshot,
    verdict::{JobVerdict, Judgement, LostReason, PodVerdict},
};

use super::{Law, listening::ms, signs::Signs};
use crate::{
    kubernetes::node_lifecycle::NOT_READY_TOLERATION,
    world::{Event, World},
};

/// One look at a Job.
pub(crate) struct Look<'a> {
    pub(crate) reaper: usize,
    pub(crate) job: usize,
    pub(crate) snapshot: &'a JobSnapshot,
    pub(crate) judgement: &'a Judgement,
    pub(crate) hold: Option<Hold>,
    pub(crate) steps: &'a [Step],
    pub(crate) moment: Moment,
}

/// What was last concluded of a Job.
#[derive(Clone, Debug)]
pub(crate) struct Concluded {
    job: JobVerdict,
    pods: Vec<(PodUid, PodVerdict)>,
    recheck_at: Option<Moment>,
}

/// Slack for what the model leaves to chance between a deadline and a probe of it.
const PROBE_SLACK_MS: i64 = 60_000;

impl World<'_> {
    pub(crate) fn judge_the_look(&mut self, look: &Look<'_>) {
        self.count(look);
        self.no_living_pod_is_lost(look);
        self.guards_hold(look);
        self.the_breaker_holds(look);
        self.nothing_is_early(look);
        self.next_look_is_exact(look);
        let Judgement { job, pods, recheck_at } = look.judgement;
        let concluded = Concluded { job: *job, pods: pods.clone(), recheck_at: *recheck_at };
        self.tell_changes(look, &concluded);
        self.reapers[look.reaper].concluded[look.job] = Some(concluded);
    }

    fn count(&mut self, look: &Look<'_>) {
        self.account.looks += 1;
        if let Some(row) = look.judgement.job.row() {
            *self.account.rows.entry(row.to_string()).or_default() += 1;
        }
        if look.judgement.job == JobVerdict::Open {
            for (_, verdict) in &look.judgement.pods {
                *self.account.rows.entry(verdict.row().to_string()).or_default() += 1;
                if let Some(reason) = verdict.lost() {
                    *self.account.lost.entry(reason.as_str()).or_default() += 1;
                }
            }
            if let Some(hold) = look.hold.filter(|_| look.judgement.pods.iter().any(|(_, pod)| pod.lost().is_some())) {
                *self.account.holds.entry(hold.as_str()).or_default() += 1;
            }
        }
    }

    fn tell_changes(&mut self, look: &Look<'_>, now: &Concluded) {
        let before = self.reapers[look.reaper].concluded[look.job].clone();
        if before.as_ref().map(|before| before.job) != Some(now.job) {
            self.note(|| format!("job-{} is judged {:?}", look.job, now.job));
        }
        for (pod, verdict) in &now.pods {
            let was = before.as_ref().and_then(|before| before.pods.iter().find(|(uid, _)| uid == pod));
            if was.map(|(_, was)| was) != Some(verdict) {
                self.note(|| {
                    format!(
                        "pod {pod} is judged {verdict:?}{}",
                        look.hold.map(|hold| format!(", held: {hold}")).unwrap_or_default()
                    )
                });
            }
        }
    }

    /// A pod of whose life a beat tells that is not late, or an agent that is not silent, is not lost; unless one of its main
    /// containers was never started, which is what row P3 is about.
    ///
    /// Measured in real time since the sign arrived, of which the reaper's clock never counts more.
    fn no_living_pod_is_lost(&mut self, look: &Look<'_>) {
        let policy = self.history.jobs[look.job].policy;
        for (uid, verdict) in &look.judgement.pods {
            // Of what is stalled, `nothing_is_early` makes sure that it really is.
            let Some(reason) = verdict.lost().filter(|reason| *reason != LostReason::Stalled) else { continue };
            let Some(pod) = self.pods.iter().position(|pod| pod.uid == *uid) else { continue };
            let it = &self.pods[pod];
            // P3 goes by what the kubelet has told, and that takes a moment to arrive.
            let told = it.status.containers.mains.iter().all(|main| main.run > 0)
                && self.now.saturating_sub(it.told_at) >= Duration::from_secs(1)
                && self.cluster.reapers_reach_api()
                && self.reapers[look.reaper].watches_are_up();
            let not_started =
                matches!(reason, LostReason::ImagePullFailed | LostReason::CreateFailed | LostReason::StartTimeout);
            if not_started && !told {
                continue;
            }
            let heard = match reason {
                LostReason::NodeGone => Signs::is_heard_from_beyond,
                _ => Signs::is_heard,
            };
            if it.worker_lives() && heard(&it.signs, self.now, policy.suspect_after, policy.lost_after) {
                self.break_law(Law::NoLivingPodIsLost, format!("pod {uid} lives and is heard, and is judged {reason}"));
            }
        }
    }

    /// Told from the truth: a term that is younger than lost-after, a watch that is known to be down, a beat of the reaper's
    /// own that has been missing for 15 s.
    fn guards_hold(&mut self, look: &Look<'_>) {
        let writes = |step: &Step| {
            matches!(
                step,
                Step::FailJob { .. }
                    | Step::DeletePod { why: Removal::Lost, .. }
                    | Step::MarkPodFailed { .. }
                    | Step::ForceDeletePod { .. }
            )
        };
        let lost = look.judgement.pods.iter().any(|(_, verdict)| verdict.lost().is_some());
        if !lost && !look.steps.iter().any(writes) {
            return;
        }
        let it = &self.reapers[look.reaper];
        let lost_after = self.history.jobs[look.job].policy.lost_after;
        let guard = if self.now.saturating_sub(it.led_since) < lost_after {
            "it has not listened for lost-after"
        } else if it.own_beat.is_none_or(|at| self.now.saturating_sub(at) >= DEAF_AFTER) {
            "it is deaf"
        } else if !it.watches_are_up() {
            "a watch is down"
        } else {
            return;
        };
        if look.hold.is_none() {
            self.break_law(Law::GuardsHold, format!("job-{}: {guard}, and no guard holds", look.job));
        }
        if let Some(step) = look.steps.iter().find(|step| writes(step)) {
            self.break_law(Law::GuardsHold, format!("job-{}: {guard}, and {} is planned", look.job, step.as_str()));
        }
    }

    /// The same evidence gives the same verdicts until the very moment that the judgement names, and not later than then does
    /// the clock of the judge turn.
    fn next_look_is_exact(&mut self, look: &Look<'_>) {
        let Judgement { job, pods, recheck_at } = look.judgement;
        let far = Duration::from_hours(1_000);
        let span = recheck_at.map_or(far, |next| next.since(look.moment));
        let part = self.laws.dice.below(1_000);
        let last = span.saturating_sub(Duration::from_nanos(1));
        let sometime = (span / 1_000 * u32::try_from(part).unwrap_or(0)).min(last);
        for after in [sometime, last] {
            let again = judge(&look.snapshot.evidence, &look.snapshot.policy, look.moment + after);
            if again.job != *job || again.pods != *pods || again.recheck_at != *recheck_at {
                let how = format!("job-{}: judged anew {after:?} later: {pods:?} became {:?}", look.job, again.pods);
                return self.break_law(Law::NoChangeGoesUnseen, how);
            }
        }
        if recheck_at.is_some_and(|next| next <= look.moment) {
            self.break_law(Law::NoChangeGoesUnseen, format!("job-{}: the next look is not in the future", look.job));
        }
    }

    /// Between looks: the latest evidence gives what was last concluded, unless a look is due; and nothing has waited for
    /// longer than anything may.
    pub(crate) fn probe(&mut self) {
        let next = self.laws.dice.seconds(15, 45);
        self.after(next, Event::Probe);
        self.the_breaker_may_hold(); // Takes note of it, should it be over when somebody asks.
        let Some(leader) = self.leader().filter(|&leader| self.reapers[leader].hearing.synced()) else { return };
        let at = self.instant();
        self.hear(leader, |_, _| {}); // Has it notice whether it hears, as anything that arrives does.
        let moment = self.reapers[leader].hearing.now(at);
        for job in 0..self.jobs.len() {
            let it = &self.reapers[leader];
            let Some(known) = it.known(&self.jobs[job].uid, moment) else { continue };
            if it.is_about_to_look(job, self.now) {
                continue;
            }
            let judgement = judge(&known.evidence, &known.policy, moment);
            let concluded = it.concluded.get(job).cloned().flatten();
            let due = concluded.as_ref().is_some_and(|it| it.recheck_at.is_some_and(|next| next <= moment));
            let same = concluded.is_some_and(|it| it.job == judgement.job && it.pods == judgement.pods);
            if !same && !due {
                let how = format!("job-{job} is {judgement:?} now, which nobody has seen");
                return self.break_law(Law::NoChangeGoesUnseen, how);
            }
            self.nothing_waits_for_ever(job, &judgement);
            self.nothing_is_late(job, &judgement);
        }
    }

    /// A bound pod is without a row (P11) for start-timeout, lost-after or a minute at most, whichever is longest: each of its
    /// witnesses falls silent or is given up by then; and one that is being deleted for a minute past its grace. On a
    /// node that says that it is not ready, P3 leaves it to Kubernetes, which evicts the pod after five minutes. Not counted: a pod that nobody has placed, which may wait for ever; and
    /// one whose own init container runs by
    /// its kubelet's word, which may for as long as it likes. A Job that should have a pod has none for start-timeout.
    fn nothing_waits_for_ever(&mut self, job: usize, judgement: &Judgement) {
        let policy = self.history.jobs[job].policy;
        let longest = policy.start_timeout.max(policy.lost_after).max(Duration::from_mins(1));
        let bound = ms(longest) + PROBE_SLACK_MS;
        let moment = self.laws.listening.at(self.now);
        let live = self.jobs[job].attempts.iter().any(|&pod| self.pods[pod].is_open());
        let open = judgement.job == JobVerdict::Open;
        let podless = (open && !live && self.jobs[job].ending.is_none()).then_some(moment);
        let record = &mut self.laws.records[job];
        record.podless = podless.and(record.podless.or(podless));
        if record.podless.is_some_and(|since| moment - since > bound) {
            self.break_law(Law::NothingWaitsForEver, format!("job-{job} has no pod and no row"));
        }
        for (uid, verdict) in &judgement.pods {
            let Some(pod) = self.jobs[job].attempts.iter().copied().find(|&pod| self.pods[pod].uid == *uid) else {
                continue;
            };
            let it = &self.pods[pod];
            let inits = [it.truth.containers.init, it.status.containers.init];
            let prepares = inits.into_iter().flatten().any(|init| init.is_alive());
            let waits = open && *verdict == PodVerdict::Waiting && it.node.is_some() && it.is_open() && !prepares;
            // Once it is being deleted, row P6 has its say.
            let (deleting, grace) = (it.deleting, self.history.jobs[job].grace);
            let bound = if deleting { bound.max(ms(grace + STUCK_AFTER) + PROBE_SLACK_MS) } else { bound };
            let not_ready = it.node.is_some_and(|node| !self.nodes[node].ready);
            let bound = if not_ready { bound + ms(NOT_READY_TOLERATION) } else { bound };
            let record = self.laws.records[job].waiting.entry(pod).or_default();
            *record = waits.then(|| record.filter(|(_, then)| *then == deleting).unwrap_or((moment, deleting)));
            if record.is_some_and(|(since, _)| moment - since > bound) {
                self.break_law(Law::NothingWaitsForEver, format!("pod {uid} has no row"));
            }
        }
    }
}

/// Whether the reaper says so by a verdict of its own.
pub(crate) fn is_ours(reason: &str) -> bool {
    jobwarden_common::names::reason::LOST.contains(&reason)
}
