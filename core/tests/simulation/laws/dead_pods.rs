//! Every dead pod is reported in time.

use std::time::Duration;

use jobwarden_common::names::reason;
use jobwarden_core::{
    judge::{AGENT_SILENT_AFTER, LEASE_STALE_AFTER, LEASE_STALE_AFTER_LEAST, NODE_GONE_AFTER, PROCESS_GONE_AFTER},
    outcome::{Episode, OutcomeName, in_names},
};

use crate::{
    state::{
        laws::Law,
        pod::{Container, Phase, Run},
        signal_clock::ms,
    },
    world::{Event, World},
};

/// From the moment at which a row matches to the outcome: watches, work queue, steps, and what is random in the model.
const SLACK_MS: i64 = 6_000;
/// The shortest warm-up.
const WARM_UP_MS: i64 = 15_000;
/// When a dead pod is checked again that the reaper cannot know of yet.
const AGAIN: Duration = Duration::from_secs(20);

impl World<'_> {
    /// The actual state of a pod has changed.
    pub(crate) fn actual_state_changed(&mut self, pod: usize) {
        let it = &self.pods[pod];
        let off = it.node.is_some_and(|node| self.nodes[node].down > 0);
        let has_run = it.actual.containers.mains.iter().any(|main| main.run > 0);
        let dead = it.node.is_some() && (off || (has_run && it.worker_has_ended()));
        let moment = self.laws.signal_clock.at(self.now);
        let since = &mut self.pods[pod].actual.dead_since;
        if dead && since.is_none() {
            *since = Some(moment);
            self.pods[pod].actual.died = self.now;
            self.after(AGAIN, Event::DeadPodCheck(pod));
        } else if !dead {
            *since = None;
        }
    }

    /// A dead pod should have been reported, unless a signal has delayed that.
    pub(crate) fn check_dead_pod(&mut self, pod: usize) {
        let Some(dead_since) = self.pods[pod].actual.dead_since else { return };
        if self.is_settled(pod) {
            self.statistics.dead_pods += 1;
            return;
        }
        let judged = self.laws.signal_clock.is_receiving() && self.is_judged(pod) && !self.breaker_may_hold();
        let due = if judged { self.deadline(pod) } else { None };
        let Some((due, row)) = due else { return self.after(AGAIN, Event::DeadPodCheck(pod)) };
        // One that has been out of enrolment is judged from its return on.
        let due = due.max(dead_since).max(self.jobs[self.pods[pod].job].enrolment_changed_at) + SLACK_MS;
        let left = due - self.laws.signal_clock.at(self.now);
        if left > 0 {
            let left = Duration::from_millis(left.unsigned_abs());
            return self.after(left, Event::DeadPodCheck(pod));
        }
        let how = format!("pod {} is dead, and row {row} should have reported it by now", self.pods[pod].uid);
        self.break_law(Law::EveryDeadPodIsReported, how);
    }

    /// The verdicts on its pods decide about its Job.
    fn is_judged(&self, pod: usize) -> bool {
        let job = self.pods[pod].job;
        let it = &self.jobs[job];
        it.exists
            && !it.deleting
            && it.suspended == 0
            && !it.is_suspended
            && it.ending.is_none()
            && it.started.is_some()
            && self.pods[pod].owned
            && !self.history.jobs[job].managed_elsewhere
            && self.is_observed(job)
    }

    /// It is reported: by Kubernetes or by the reaper.
    fn is_settled(&self, pod: usize) -> bool {
        let it = &self.pods[pod];
        let job = &self.jobs[it.job];
        let policy = &self.history.jobs[it.job].policy;
        let says = |name: OutcomeName| job.outcomes.contains_key(&name);
        // What was reported before a recovery is about another time.
        let episode = Episode::of(it.uid.as_str(), &job.outcomes);
        let notices: Vec<_> = episode.notices(it.uid.as_str(), &job.outcomes).collect();
        let is_told = |word: &str| notices.iter().any(|notice| *notice == in_names(word));
        let loss_is_told = reason::LOST.iter().any(|word| is_told(word) || is_told(&format!("{}{word}", reason::HELD)));
        // A `suspect` outcome is enough if the reaper cannot know more, or if the policy wants no more.
        let renews = it.node.is_some_and(|node| self.nodes[node].renews());
        !it.is_open()
            || self.is_left_to_kubernetes(pod)
            || says(OutcomeName::attempt_failed(&it.uid, episode))
            || says(OutcomeName::job_final(&job.uid))
            || (policy.on_lost == "report" && loss_is_told)
            || (renews && policy.unseen == "report" && is_told(reason::UNSEEN))
    }

    /// The moment by which some row has to report a dead pod, by the signals that have reached the reaper; `None` if no row can,
    /// as a signal says that the pod runs or no signal can exist.
    fn deadline(&self, pod: usize) -> Option<(i64, &'static str)> {
        let it = &self.pods[pod];
        let node = &self.nodes[it.node?];
        let policy = &self.history.jobs[it.job].policy;
        let lost = ms(policy.lost_after);
        let silent = ms(policy.lost_after.min(AGENT_SILENT_AFTER));
        let stale = ms(policy.lost_after.min(LEASE_STALE_AFTER).max(LEASE_STALE_AFTER_LEAST));
        let received = &it.received;
        // After a time in which no beat could arrive, the time of every missing one starts again.
        let beats_since = self.laws.beats_since;
        let agent_silent = received.alive_at.max(beats_since) + silent;
        let nothing_received = (received.any_at.max(beats_since) + lost).max(agent_silent);
        let unseen = nothing_received.max(received.alive_at.max(beats_since) + lost);
        let warm = self.laws.led_at.max(beats_since) + lost.max(WARM_UP_MS);

        let p2 = node.gone_since.map(|since| {
            let gone = since.max(self.laws.led_at) + ms(NODE_GONE_AFTER);
            // A life sign counts for five sixths of the time if the node is gone.
            let beat_old = received.running_at.max(beats_since) + ms(policy.suspect_after) * 5 / 6;
            let unseen = received.alive_at.max(beats_since) + silent * 5 / 6;
            (gone.max(beat_old).max(unseen), "P2")
        });
        if !node.renews() {
            let p8 = (unseen.max(node.lease_received + stale).max(warm), "P8");
            let ended = if received.ending { Some(received.any_at) } else { received.gone_twice_at };
            let p5 =
                ended.map(|ended| (ended.max(node.lease_received + lost.max(stale)).max(agent_silent).max(warm), "P5"));
            return [Some(p8), p5, p2].into_iter().flatten().min();
        }
        let reported = &it.status.containers;
        let runs = it.status.phase == Phase::Running
            && reported.mains.iter().any(Container::is_running)
            && !reported.mains.iter().any(|main| matches!(main.state, Run::Restarting { .. }));
        let gone = received.gone_at.zip(received.gone_twice_at).filter(|_| runs);
        let p4 =
            gone.map(|(first, second)| ((first.max(beats_since) + ms(PROCESS_GONE_AFTER)).max(second).max(warm), "P4"));
        let has_run = reported.sidecar.map_or(it.status.phase == Phase::Running, |sidecar| sidecar.run > 0);
        // The notice waits for a renewal of the Lease after the beat has expired, which is checked when the Lease would be stale.
        let unseen = unseen.max(node.lease_steady_since + lost);
        // Row P9 leaves processes that are gone to row P4.
        let p9 = (has_run && gone.is_none()).then_some((unseen.max(warm) + stale, "P9"));
        [p2, p4, p9].into_iter().flatten().min()
    }
}
