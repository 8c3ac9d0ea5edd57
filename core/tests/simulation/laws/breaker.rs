//! The breaker: within one lost-after, no more losses are enforced than it lets through.
//!
//! Counted independently, by what is written and in real time, of which the reaper's clock never counts more. The limits are
//! repeated here on purpose: they are the promise, and a change of the breaker must not change them as well.

use std::{collections::BTreeSet, time::Duration};

use jobwarden_core::{
    plan::step::{Removal, Step},
    reconcile::Evaluation,
    verdict::{JobVerdict, LostReason},
};

use super::evaluations::EvaluatedJob;
use crate::{
    state::{
        laws::{Law, Loss},
        pod::Pod,
    },
    world::World,
};

/// More Jobs than this, and more than this percentage of all, must not be lost at one time.
const JOBS: usize = 20;
const PERCENT: usize = 10;
/// In a zone of [`ZONE_NODES`] nodes or more, this percentage of its Jobs must not be lost at one time on two nodes or more, if they
/// are more than [`ZONE_JOBS`]. The percentage is larger than the breaker's, as the breaker counts the Jobs that the watches have
/// reported so far.
const ZONE_PERCENT: usize = 70;
const ZONE_JOBS: usize = 6;
const ZONE_NODES: usize = 3;

/// Until the breaker releases at the latest: later on the reaper's clock than on this one, if the former was paused.
const SETTLED_AFTER: Duration = Duration::from_mins(4);

impl World<'_> {
    /// A plan is about to enforce losses.
    pub(super) fn check_breaker(&mut self, evaluated: &EvaluatedJob<'_>) {
        self.note_let_through(evaluated);
        let lost: BTreeSet<_> =
            evaluated.evaluation.steps.iter().filter_map(|step| self.loss(evaluated, step)).collect();
        if lost.is_empty() {
            return;
        }
        let until = self.now + self.history.jobs[evaluated.job].policy.lost_after;
        let now = self.now;
        let losses = &mut self.laws.losses;
        losses.retain(|loss| loss.until > now);
        let nodes: BTreeSet<_> = lost.iter().filter_map(|&pod| self.pods[pod].node).collect();
        match losses.iter_mut().find(|loss| loss.job == evaluated.job) {
            Some(loss) => loss.nodes.extend(nodes.iter()),
            None => losses.push(Loss { job: evaluated.job, until, nodes: nodes.clone() }),
        }
        let (many, open) = (losses.len(), self.jobs.iter().filter(|job| job.exists && !job.has_finished()).count());
        if many > JOBS && many * 100 > open * PERCENT {
            self.break_law(Law::GuardsHold, format!("{many} of {open} Jobs are lost at one time"));
        }
        let zones: BTreeSet<_> = nodes.iter().map(|&node| self.nodes[node].zone).collect();
        for zone in zones {
            self.check_breaker_in_zone(zone);
        }
    }

    /// A loss that no guard holds counts for one lost-after, also if the policy only has it reported.
    fn note_let_through(&mut self, evaluated: &EvaluatedJob<'_>) {
        let Evaluation { judgement, hold, .. } = evaluated.evaluation;
        let counts = |reason: LostReason| reason != LostReason::NodeGone;
        let lost = judgement.pods.iter().filter_map(|pod| pod.verdict.lost()).any(counts);
        if hold.is_none() && judgement.job == JobVerdict::Open && lost {
            let now = self.now;
            let until = now + self.history.jobs[evaluated.job].policy.lost_after;
            let let_through = self.laws.let_through.entry(evaluated.job).or_insert(until);
            if *let_through <= now {
                *let_through = until;
            }
        }
    }

    fn check_breaker_in_zone(&mut self, zone: usize) {
        let of_zone = |node: &usize| self.nodes[*node].zone == zone;
        let there = (0..self.nodes.len()).filter(|node| of_zone(node) && self.nodes[*node].exists).count();
        let here: Vec<_> = self.laws.losses.iter().filter(|loss| loss.nodes.iter().any(of_zone)).collect();
        let lost: BTreeSet<_> = here.iter().map(|loss| loss.job).collect();
        let nodes: BTreeSet<_> = here.iter().flat_map(|loss| loss.nodes.iter().filter(|node| of_zone(node))).collect();
        let lives = self.pods.iter().filter(|pod| pod.is_open() && pod.node.as_ref().is_some_and(of_zone));
        let all: BTreeSet<_> = lives.map(|pod| pod.job).chain(lost.iter().copied()).collect();
        let trips = lost.len() > ZONE_JOBS && lost.len() * 100 >= all.len() * ZONE_PERCENT;
        if trips && nodes.len() >= 2 && there >= ZONE_NODES {
            let (many, of) = (lost.len(), all.len());
            self.break_law(Law::GuardsHold, format!("{many} of {of} Jobs of zone-{zone} are lost at one time"));
        }
    }

    /// The pod whose loss a step enforces, if the breaker counts it.
    fn loss(&self, evaluated: &EvaluatedJob<'_>, step: &Step) -> Option<usize> {
        let uid = match step {
            Step::FailJob { pod, .. } | Step::DeletePod { pod, why: Removal::Lost } => &pod.uid,
            _ => return None,
        };
        let verdict =
            evaluated.evaluation.judgement.pods.iter().find(|pod| pod.uid == *uid).and_then(|pod| pod.verdict.lost());
        let pod = self.pods.iter().position(|pod| pod.uid == *uid)?;
        verdict.filter(|reason| *reason != LostReason::NodeGone).map(|_| pod)
    }

    /// The breaker may hold: many Jobs are without fresh signals, or were shortly before. A dead pod among them need not be reported
    /// before it releases.
    pub(super) fn breaker_may_hold(&mut self) -> bool {
        if self.many_jobs_lack_fresh_signals() {
            self.laws.breaker_may_hold_until = self.now + SETTLED_AFTER;
        }
        self.now < self.laws.breaker_may_hold_until
    }

    fn many_jobs_lack_fresh_signals(&self) -> bool {
        let lacks_signals = |pod: &&Pod| {
            let policy = &self.history.jobs[pod.job].policy;
            let quiet = policy.suspect_after.min(policy.lost_after / 2);
            pod.is_open() && pod.node.is_some() && !pod.received.are_fresh(self.now, quiet, quiet)
        };
        let jobs: BTreeSet<_> = self.pods.iter().filter(lacks_signals).map(|pod| pod.job).collect();
        let losses = self.laws.losses.iter().map(|loss| (loss.job, loss.until));
        let losses = losses.chain(self.laws.let_through.iter().map(|(job, until)| (*job, *until)));
        let lost = losses.filter(|(_, until)| *until > self.now).map(|(job, _)| job);
        jobs.into_iter().chain(lost).collect::<BTreeSet<_>>().len() >= ZONE_JOBS
    }
}
