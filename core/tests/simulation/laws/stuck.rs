//! Every stuck state is reported, and a retry goes where something lives.

use std::time::Duration;

use jobwarden_common::names::reason;
use jobwarden_core::{
    outcome::in_names,
    plan::step::{Removal, Step},
    verdict::{JobVerdict, Judgement, LostReason, PodVerdict, StuckState},
};

use super::evaluations::EvaluatedJob;
use crate::{
    state::{laws::Law, signal_clock::ms},
    world::World,
};

/// What the model leaves to chance between a deadline and the probe that checks it.
const SLACK_MS: i64 = 60_000;
/// How long after the last renewal of its Lease the scheduler may still choose a dead node.
const MAY_BE_CHOSEN: Duration = Duration::from_secs(80);

impl World<'_> {
    /// A pod that has been in a stuck state for a while is reported for it, and a Job that nothing but a dead node can end is ending
    /// after stranded-after.
    pub(super) fn check_stuck_states_are_reported(&mut self, job: usize, judgement: &Judgement) {
        let moment = self.laws.signal_clock.at(self.now);
        let is_open = matches!(judgement.job, JobVerdict::Open | JobVerdict::NotStarting);
        for pod in &judgement.pods {
            let sidecar = (pod.verdict == PodVerdict::SidecarBlocks).then_some(reason::SIDECAR_FAULT);
            let word = pod.stuck.map(StuckState::as_str).or(sidecar).filter(|_| is_open);
            let record = self.laws.records[job].stuck.entry(pod.uid.clone()).or_default();
            *record = word.map(|word| record.filter(|(before, _)| *before == word).unwrap_or((word, moment)));
            let Some((word, since)) = *record else { continue };
            let prefix = format!("{}.suspect.{}", pod.uid, in_names(word));
            let reported = self.jobs[job].outcomes.keys().any(|name| name.as_str().starts_with(&prefix));
            if !reported && moment - since > SLACK_MS {
                self.break_law(Law::NothingWaitsForever, format!("pod {} is stuck ({word}) and not reported", pod.uid));
            }
        }
        let stranded = is_open && self.is_stranded(job, judgement) && !self.breaker_may_hold();
        let record = &mut self.laws.records[job].stranded;
        *record = stranded.then(|| record.unwrap_or(moment));
        let after = self.history.jobs[job].policy.stranded_after;
        if record.zip(after).is_some_and(|(since, after)| moment - since > ms(after) + SLACK_MS) {
            self.break_law(Law::NothingWaitsForever, format!("job-{job} waits for a dead node for longer than it may"));
        }
    }

    /// Every open pod of the Job is lost and terminates on a silent node, and the Job may have no other.
    fn is_stranded(&self, job: usize, judgement: &Judgement) -> bool {
        let plan = &self.history.jobs[job];
        let open: Vec<_> =
            self.jobs[job].attempts.iter().map(|&pod| &self.pods[pod]).filter(|pod| pod.is_open()).collect();
        let unreachable = |verdict: PodVerdict| {
            matches!(verdict.lost(), Some(LostReason::NodeUnreachable | LostReason::OutcomeUnknown))
        };
        let is_stuck = |uid| judgement.pods.iter().any(|pod| pod.uid == uid && unreachable(pod.verdict));
        plan.replaces_only_failed
            && !plan.safe_to_duplicate
            && plan.policy.on_lost == "retry"
            && self.jobs[job].writes_refused == 0
            && self.jobs[job].ending.is_none()
            && !open.is_empty()
            && open.iter().all(|pod| pod.deleting && is_stuck(pod.uid.clone()))
    }

    /// A lost pod is not removed while the scheduler would place the next attempt on the same dead node.
    pub(super) fn check_retries_go_elsewhere(&mut self, evaluated: &EvaluatedJob<'_>) {
        for step in &evaluated.evaluation.steps {
            let Step::DeletePod { pod, why: Removal::Lost } = step else { continue };
            let verdict = evaluated.evaluation.judgement.pods.iter().find(|judged| judged.uid == pod.uid);
            let reason = verdict.and_then(|judged| judged.verdict.lost());
            if !matches!(reason, Some(LostReason::NodeUnreachable | LostReason::OutcomeUnknown)) {
                continue;
            }
            let node =
                self.pods.iter().find(|it| it.uid == pod.uid).and_then(|it| it.node).map(|node| &self.nodes[node]);
            let may_be_chosen = node.is_some_and(|node| {
                let in_api = node.exists && node.ready && node.out_of_service == 0;
                node.down > 0 && in_api && self.now < node.renewed + MAY_BE_CHOSEN
            });
            if may_be_chosen {
                let how = format!("pod {} is removed while the scheduler may choose its dead node", pod.name);
                return self.break_law(Law::NothingWaitsForever, how);
            }
        }
    }
}
