//! No Job and no pod waits forever without a verdict that says why.

use std::time::Duration;

use jobwarden_core::verdict::PodJudgement;
use jobwarden_core::{
    judge::{PROCESS_GONE_AFTER, STUCK_AFTER},
    verdict::{JobVerdict, Judgement, PodVerdict},
};

use crate::{
    state::{
        laws::{Law, Wait},
        signal_clock::ms,
    },
    world::World,
};

/// What the model leaves to chance between a deadline and the probe that checks it.
const PROBE_SLACK_MS: i64 = 60_000;

impl World<'_> {
    /// A Job or pod for which a row matches waits no longer, even if that is over before the next probe.
    pub(super) fn end_waits(&mut self, job: usize, judgement: &Judgement) {
        if judgement.job != JobVerdict::Open {
            self.laws.records[job].podless = None;
        }
        for PodJudgement { uid, verdict, stuck } in &judgement.pods {
            let pod = self.jobs[job].attempts.iter().copied().find(|&pod| self.pods[pod].uid == *uid);
            if let Some(pod) = pod.filter(|_| *verdict != PodVerdict::Waiting || stuck.is_some()) {
                self.laws.records[job].waiting.remove(&pod);
            }
        }
    }

    /// A bound pod has no row but P11 for start-timeout, lost-after or three minutes at most, whichever is longest: each of its
    /// signals is missing for long enough by then. A pod that is being deleted has none for a minute past its grace period. A pod that
    /// waits for a node, or for its node to be ready, is in a stuck state by then.
    ///
    /// Not counted is a pod whose own init container runs by the status that its kubelet has written, for as long as that takes. A Job
    /// that should have a pod has none for start-timeout.
    pub(super) fn check_nothing_waits_forever(&mut self, job: usize, judgement: &Judgement) {
        let policy = self.history.jobs[job].policy;
        let longest = policy.start_timeout.max(policy.lost_after).max(PROCESS_GONE_AFTER);
        let bound = ms(longest) + PROBE_SLACK_MS;
        let moment = self.laws.signal_clock.at(self.now);
        let has_pod = self.jobs[job].attempts.iter().any(|&pod| self.pods[pod].is_open());
        let open = judgement.job == JobVerdict::Open;
        // While it backs off, the Job controller is expected to create none.
        let may_create = self.now >= self.jobs[job].may_create_from();
        let podless = (open && !has_pod && self.jobs[job].ending.is_none() && may_create).then_some(moment);
        let record = &mut self.laws.records[job];
        record.podless = podless.and(record.podless.or(podless));
        // A reaper that has just started does not know since when it has none: it waits for as long as the back-off lasts.
        let known_from = self.laws.beats_since + ms(self.jobs[job].back_off());
        if record.podless.is_some_and(|since| moment - since.max(known_from) > bound) {
            self.break_law(Law::NothingWaitsForever, format!("job-{job} has no pod and no row"));
        }
        for PodJudgement { uid, verdict, stuck } in &judgement.pods {
            let Some(pod) = self.jobs[job].attempts.iter().copied().find(|&pod| self.pods[pod].uid == *uid) else {
                continue;
            };
            let it = &self.pods[pod];
            let inits = [it.actual.containers.init, it.status.containers.init];
            let warms_up = it.actual.containers.warm_up() || it.status.containers.warm_up();
            let initializes = warms_up || inits.into_iter().flatten().any(|init| init.is_running());
            let waits = open && *verdict == PodVerdict::Waiting && stuck.is_none() && it.is_open() && !initializes;
            // Row P6 is about a pod that is being deleted.
            let (deleting, grace) = (it.deleting, self.history.jobs[job].grace);
            let bound = if deleting { bound.max(ms(grace + STUCK_AFTER) + PROBE_SLACK_MS) } else { bound };
            // Each wait has its own bound: for a node, on it, and for its end.
            let record = self.laws.records[job].waiting.entry(pod).or_default();
            let ready_changed = it.node.map_or(Duration::ZERO, |node| self.nodes[node].ready_changed);
            let wait = Wait { bound: it.node.is_some(), deleting, ready_changed, warmed: it.warmed };
            *record = waits.then(|| record.filter(|(_, then)| *then == wait).unwrap_or((moment, wait)));
            // After a time in which no beat could arrive, every wait for one starts again.
            let beats_since = self.laws.beats_since;
            if record.is_some_and(|(since, _)| moment - since.max(beats_since) > bound) {
                self.break_law(Law::NothingWaitsForever, format!("pod {uid} has no row"));
            }
        }
    }
}
