//! What was done to a node.

use std::time::Duration;

use crate::campaign::span::{CampaignTime, Span};

/// How much later than a power cut its processes may be found to have ended.
const POWER_CUT: Duration = Duration::from_secs(1);

/// The condition of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Everything on it can be observed and is reported.
    #[default]
    Healthy,
    /// Crashed, or partitioned while its workers run.
    CutOff,
    /// Its kubelet is stopped.
    NoKubelet,
    /// Its container runtime is frozen.
    Frozen,
    /// Repaired, but not healthy yet.
    Recovering,
}

/// The conditions of a node over time.
#[derive(Clone, Debug, Default)]
pub struct NodeHistory {
    changes: Vec<(CampaignTime, Condition)>,
    /// When its Node object did not exist.
    pub deleted: Vec<Span>,
    /// When neither heartbeats nor agent reports could leave it.
    pub blocked: Vec<Span>,
    /// When its power was cut.
    pub crashes: Vec<CampaignTime>,
    /// When it was booted again.
    pub boots: Vec<CampaignTime>,
    /// When it was cordoned or tainted, so that no new pod could be placed on it.
    pub closed: Vec<Span>,
    /// Its zone, if it has one.
    pub zone: Option<String>,
}

impl NodeHistory {
    /// Records a change.
    pub fn set_condition(&mut self, at: CampaignTime, condition: Condition) {
        self.changes.push((at, condition));
    }

    /// Its condition at a time.
    pub fn condition_at(&self, at: CampaignTime) -> Condition {
        self.changes.iter().rev().find(|(since, _)| *since <= at).map(|(_, condition)| *condition).unwrap_or_default()
    }

    /// Whether new Jobs can be placed on it.
    pub fn is_open(&self, at: CampaignTime) -> bool {
        self.condition_at(at) == Condition::Healthy && !self.closed.iter().any(|span| span.contains(at))
    }

    /// Whether neither heartbeats nor agent reports could leave it at any time between these two.
    pub fn was_silent(&self, from: CampaignTime, until: CampaignTime) -> bool {
        self.was_in(Condition::CutOff, from, until) || self.blocked.iter().any(|span| span.overlaps(from, until))
    }

    /// Its conditions from `from` on, one after the other.
    pub fn periods(&self, from: CampaignTime) -> Vec<(Span, Condition)> {
        let mut periods = vec![(Span::open(from), self.condition_at(from))];
        for (at, condition) in self.changes.iter().filter(|(at, _)| *at > from) {
            if let Some((last, _)) = periods.last_mut() {
                last.until = Some(*at);
            }
            periods.push((Span::open(*at), *condition));
        }
        periods
    }

    /// Whether it was in this condition at any time between these two.
    pub fn was_in(&self, condition: Condition, from: CampaignTime, until: CampaignTime) -> bool {
        self.periods(Duration::ZERO).iter().any(|(span, was)| *was == condition && span.overlaps(from, until))
    }

    /// Whether it was in any condition but healthy between these two.
    pub fn was_unhealthy(&self, from: CampaignTime, until: CampaignTime) -> bool {
        self.periods(from).iter().any(|(span, condition)| *condition != Condition::Healthy && span.from <= until)
    }

    /// Whether a power cut ended a process that ran from `started` to `ended`.
    pub fn cut_power(&self, started: CampaignTime, ended: CampaignTime) -> bool {
        self.crashes.iter().any(|at| *at >= started && *at <= ended + POWER_CUT)
    }

    /// Whether it has booted between these two times. Whatever ran before a boot has ended.
    pub fn booted(&self, from: CampaignTime, until: CampaignTime) -> bool {
        self.boots.iter().any(|at| *at >= from && *at <= until)
    }
}
