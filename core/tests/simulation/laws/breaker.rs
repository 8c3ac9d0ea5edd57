//! The breaker: when it may hold, when it has to, and that a hold ends.
//!
//! Counted independently, by what has reached the reaper and in real time, of which the reaper's clock never counts more. The limits
//! are repeated here on purpose: they are the promise, and a change of the breaker must not change them as well.

use std::{collections::BTreeSet, time::Duration};

use jobwarden_core::{
    guard::Hold,
    plan::step::{Removal, Step},
    verdict::LostReason,
};

use super::evaluations::{EvaluatedJob, rests_on_silence};
use crate::{
    state::{laws::Law, pod::Pod, signal_clock::ms},
    world::World,
};

/// The cluster may trip from so many nodes on; above this percentage it has to. The percentage is larger than the breaker's, which
/// counts the nodes that carry workers by what the watches have reported so far.
const NODES: usize = 3;
const CLUSTER_PERCENT: usize = 45;
/// A zone of so many nodes trips from two on, which is 55 % of three.
const ZONE_NODES: usize = 3;
const SILENT_IN_ZONE: usize = 2;
/// A node may count as silent when nothing of it has arrived for so long: a kubelet renews its Lease every 10 s. It has to count before
/// the first of those that fell silent with it can be lost.
const MAY_COUNT_AFTER: Duration = Duration::from_secs(9);
const COUNTS_AFTER: Duration = Duration::from_secs(14);
/// Nodes whose silence began within this time fell silent together.
const TOGETHER: Duration = Duration::from_mins(4);
/// A namespace may trip from so many Jobs on.
const JOBS: usize = 3;
/// For how long the breaker may go on holding once there are fewer: until the last has returned, and 30 s more.
const RETURNING: Duration = Duration::from_secs(150);
/// The time between the releases of two nodes.
const RELEASE_EVERY: Duration = Duration::from_mins(1);
/// How much later than due a hold may end: the nodes may all be silent in between, the work queue may be long.
const SLACK: Duration = Duration::from_mins(4);

impl World<'_> {
    /// Remembers whether the breaker may hold now.
    pub(crate) fn sample_silence(&mut self) {
        let until = self.now + RETURNING;
        if self.enough_nodes(|node| self.is_silent_for(node, MAY_COUNT_AFTER)) {
            self.laws.breaker.silence_until = until;
        }
        // Those that were released and acted upon leave nothing behind here, and count until the last is released.
        let units = u32::try_from(self.nodes.len().max(self.jobs.len())).unwrap_or(u32::MAX);
        let until = until + self.history.hold_for + RELEASE_EVERY * units;
        let gone: BTreeSet<_> =
            self.pods.iter().filter(|pod| pod.received.gone_at.is_some()).filter_map(|pod| pod.node).collect();
        if self.enough_nodes(|node| gone.contains(&node)) {
            self.laws.breaker.process_gone_until = until;
        }
        for namespace in 0..self.history.namespaces {
            let silent = |pod: &&Pod| {
                let plan = &self.history.jobs[pod.job];
                let quiet = plan.policy.suspect_after.min(plan.policy.lost_after / 2);
                plan.namespace == namespace && pod.is_open() && !pod.received.are_fresh(self.now, quiet, quiet)
            };
            let jobs: BTreeSet<_> = self.pods.iter().filter(silent).map(|pod| pod.job).collect();
            if jobs.len() >= JOBS {
                self.laws.breaker.heartbeats_until.insert(namespace, until);
            }
        }
        if !self.laws.signal_clock.is_receiving() || !(0..self.nodes.len()).any(|node| self.reports(node)) {
            self.laws.breaker.held_since.clear();
        }
    }

    /// Whether these are enough nodes for the breaker to trip anywhere. Nodes that carry no workers count here, because they did when
    /// they fell silent.
    fn enough_nodes(&self, affected: impl Fn(usize) -> bool) -> bool {
        let nodes: Vec<_> = (0..self.nodes.len()).filter(|&node| affected(node)).collect();
        let zone_trips = |zone: usize| {
            let of_zone = |node: &&usize| self.nodes[**node].zone == zone;
            let all = self.nodes.iter().filter(|node| node.zone == zone).count();
            all >= ZONE_NODES && nodes.iter().filter(of_zone).count() >= SILENT_IN_ZONE
        };
        nodes.len() >= NODES || (0..self.history.zones).any(zone_trips)
    }

    fn is_silent_for(&self, node: usize, after: Duration) -> bool {
        self.now.saturating_sub(self.nodes[node].heard_at) >= after
    }

    fn carries_workers(&self, node: usize) -> bool {
        self.pods.iter().any(|pod| pod.is_open() && pod.node == Some(node) && self.is_observed(pod.job))
    }

    /// The same, and not only since the scheduler has chosen a silent node.
    fn carried_workers_in_silence(&self, node: usize) -> bool {
        let since = self.now.saturating_sub(COUNTS_AFTER);
        self.pods
            .iter()
            .any(|pod| pod.is_open() && pod.node == Some(node) && pod.bound <= since && self.is_observed(pod.job))
    }

    /// A node that carries workers has been heard of.
    fn reports(&self, node: usize) -> bool {
        self.carries_workers(node) && !self.is_silent_for(node, MAY_COUNT_AFTER)
    }

    /// A plan is about to enforce or hold losses.
    pub(super) fn check_breaker(&mut self, evaluated: &EvaluatedJob<'_>) {
        self.check_holds(evaluated);
        self.check_hold_ends(evaluated);
        let judgement = &evaluated.evaluation.judgement;
        let lost: BTreeSet<_> = evaluated
            .evaluation
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::FailJob { pod, reason, .. } => Some((pod.uid.clone(), *reason)),
                Step::DeletePod { pod, why: Removal::Lost } => {
                    let verdict = judgement.pods.iter().find(|judged| judged.uid == pod.uid)?.verdict;
                    Some((pod.uid.clone(), verdict.lost()?))
                }
                _ => None,
            })
            .filter(|(_, reason)| rests_on_silence(*reason))
            .filter_map(|(uid, reason)| Some((self.pods.iter().position(|pod| pod.uid == uid)?, reason.as_str())))
            .collect();
        for (pod, reason) in lost {
            let runs = self.pods[pod].worker_runs();
            self.laws.enforced.push((self.now, pod, runs));
            let by_node = [LostReason::NodeUnreachable, LostReason::OutcomeUnknown].map(LostReason::as_str);
            if let Some(node) = self.pods[pod].node.filter(|_| by_node.contains(&reason)) {
                self.check_enforced(node);
            }
        }
    }

    /// A loss of a silent node is enforced: not too many others fell silent with it. Nodes that the breaker has released are silent for
    /// hold-for and longer, and a node that is confirmed to be gone does not count.
    fn check_enforced(&mut self, node: usize) {
        let longest = TOGETHER.min(self.history.hold_for);
        let counts = |&node: &usize| {
            let it = &self.nodes[node];
            let known = it.gone_since.is_none() && self.carried_workers_in_silence(node);
            known && self.is_silent_for(node, COUNTS_AFTER) && !self.is_silent_for(node, longest)
        };
        let silent: Vec<_> = (0..self.nodes.len()).filter(counts).collect();
        let carrying = (0..self.nodes.len()).filter(|&node| self.carries_workers(node)).count();
        let trips = silent.len() >= NODES && silent.len() * 100 > carrying * CLUSTER_PERCENT;
        if trips && silent.contains(&node) {
            let how = format!(
                "a loss on node-{node} is enforced, and the nodes {silent:?} of {carrying} fell silent together"
            );
            self.break_law(Law::GuardsHold, how);
        }
    }

    /// With fewer than three silent nodes, or two of a zone of three, no loss of a silent node is held, however many Jobs there are. No
    /// Jobs of one namespace hold losses in another.
    fn check_holds(&mut self, evaluated: &EvaluatedJob<'_>) {
        let Some(Hold::Breaker { .. }) = evaluated.evaluation.held else { return };
        let laws = &self.laws.breaker;
        let namespace = self.history.jobs[evaluated.job].namespace;
        let reasons =
            evaluated.evaluation.judgement.pods.iter().filter_map(|pod| Some((&pod.uid, pod.verdict.lost()?)));
        let wrong = reasons.filter(|(pod, reason)| evaluated.evaluation.holds.of(pod, *reason).is_some()).find(
            |(_, reason)| {
                let until = match reason {
                    LostReason::NodeUnreachable | LostReason::OutcomeUnknown => laws.silence_until,
                    LostReason::ProcessGone => laws.process_gone_until,
                    LostReason::HeartbeatLost => laws.heartbeats_until.get(&namespace).copied().unwrap_or_default(),
                    _ => Duration::ZERO,
                };
                self.now > until
            },
        );
        if let Some((pod, reason)) = wrong {
            let how = format!("the breaker holds the loss of {pod} ({reason}), and too little is affected for that");
            self.break_law(Law::BreakerCountsDomains, how);
        }
    }

    /// What is held is released after hold-for, one node or Job a minute, as long as any node reports.
    fn check_hold_ends(&mut self, evaluated: &EvaluatedJob<'_>) {
        let job = evaluated.job;
        if !matches!(evaluated.evaluation.held, Some(Hold::Breaker { .. })) {
            self.laws.breaker.held_since.remove(&job);
            return;
        }
        let moment = self.laws.signal_clock.at(self.now);
        let since = *self.laws.breaker.held_since.entry(job).or_insert(moment);
        let units = u32::try_from(self.nodes.len().max(self.jobs.len())).unwrap_or(u32::MAX);
        if moment > since + ms(self.history.hold_for + RELEASE_EVERY * units + SLACK) {
            self.break_law(Law::HoldsEnd, format!("the loss of job-{job} has been held for too long"));
        }
    }

    /// The breaker may hold: a dead pod need not be reported before it releases.
    pub(super) fn breaker_may_hold(&mut self) -> bool {
        self.sample_silence();
        let laws = &self.laws.breaker;
        let heartbeats = laws.heartbeats_until.values().copied();
        let until = heartbeats.chain([laws.silence_until, laws.process_gone_until]).max().unwrap_or_default();
        self.now < until
    }
}
