//! Asks the leading reaper every second whether it receives signals and what its guards hold: both rightly delay verdicts.

use std::time::Duration;

use kube::Client;
use tokio::time::{sleep, timeout};

use super::domains;
use super::history::{CampaignTime, History, Span, close};
use crate::reaper_api::{self, Guards};

/// The time between two requests.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long after a disruption of the control plane or of jobwarden the reaper may receive no signals. Traffic to a new
/// leader goes through the Service's endpoints, which a controller writes and each node's proxy reads. After an API server
/// outage both retry for up to a minute (see [`super::deadline`]), and senders that could not reach the leader, including its
/// self-beat, retry within another quarter of a minute.
const RECOVERY: Duration = Duration::from_secs(90);
/// The leader's last answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct GuardMonitor {
    /// Whether it receives signals, in its words.
    signals: String,
    /// Since when it receives none, if it receives none.
    deaf_since: Option<CampaignTime>,
    /// Since when its breaker rightly holds, if it holds.
    holding_since: Option<CampaignTime>,
    /// Whether its breaker holds although it may not.
    holds_wrongly: bool,
    /// For how long it had received signals, and when it said so.
    listening: Option<(CampaignTime, Duration)>,
}

/// What the leader says of its guards.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Whether it receives signals, in its words.
    signals: String,
    receives: bool,
    /// For how long it has received signals.
    listening: Duration,
    /// Whether its breaker holds.
    holds: bool,
}

impl From<Guards> for Answer {
    fn from(guards: Guards) -> Self {
        let listening = Duration::from_secs(guards.listening_seconds);
        Self { receives: guards.receives_signals(), signals: guards.signals, listening, holds: guards.breaker.holds }
    }
}

/// The answer of the leader, if there is one.
pub(crate) async fn ask(client: &Client) -> Option<Answer> {
    let answer = timeout(2 * INTERVAL, reaper_api::guards(client)).await;
    sleep(INTERVAL).await;
    Some(answer.ok()?.ok()?.into())
}

impl GuardMonitor {
    /// Records an answer or its absence. Returns a line of text if something changed.
    pub(crate) fn record(
        &mut self,
        history: &mut History,
        answer: Option<&Answer>,
        lost_after: Duration,
        now: CampaignTime,
    ) -> Option<String> {
        let signals = answer.map_or("no leader answers", |answer| answer.signals.as_str());
        let receives = answer.is_some_and(|answer| answer.receives);
        let mut news = None;
        if let Some(term) = answer.and_then(|answer| self.new_term(answer.listening, now)) {
            history.terms.push(term);
            news = Some("a new leader receives signals".to_owned());
        }
        if self.signals != signals {
            news = Some(format!("the leader's signals: {signals}"));
            signals.clone_into(&mut self.signals);
        }
        let excused = history.disruptions.iter().any(|span| span.overlaps(now.saturating_sub(RECOVERY), now));
        let was_deaf = self.deaf_since.is_some();
        switch(&mut self.deaf_since, !receives && excused, &mut history.pauses, now);
        if was_deaf && self.deaf_since.is_none() {
            // What was silent meanwhile gets its whole time again, as with a new leader.
            history.terms.push(now);
        }
        let holds = answer.is_some_and(|answer| answer.holds);
        let rightly = self.may_hold(history, lost_after, now);
        if holds && !rightly && !self.holds_wrongly {
            let domains::Count { silent, carrying } = domains::count(history, lost_after, now);
            news = Some(format!("the breaker holds, and excuses nothing: {silent} of {carrying} nodes are silent"));
        }
        self.holds_wrongly = holds && !rightly;
        if switch(&mut self.holding_since, holds && rightly, &mut history.pauses, now) {
            let domains::Count { silent, carrying } = domains::count(history, lost_after, now);
            news = Some(format!("the breaker holds: {silent} of {carrying} nodes are silent"));
        }
        news
    }

    /// Whether the breaker may begin to hold, or go on. A hold for no reason, or for too long, excuses no late notification.
    fn may_hold(&self, history: &History, lost_after: Duration, now: CampaignTime) -> bool {
        match self.holding_since {
            Some(since) => now <= since + domains::longest_hold(history.nodes.len()),
            None => domains::may_hold(history, lost_after, now),
        }
    }

    /// When the term of this leader began, if it is a new leader.
    fn new_term(&mut self, listening: Duration, now: CampaignTime) -> Option<CampaignTime> {
        // A leader's figure stands still while it receives no signals. It goes back only by the time that is later found to
        // have been such a period.
        let known = self.listening.replace((now, listening));
        let is_new = known.is_none_or(|(_, before)| listening + Duration::from_secs(20) < before);
        is_new.then(|| now.saturating_sub(listening))
    }
}

/// Starts or ends a pause. Returns whether one has started. A pause starts at the previous request, when the state was last
/// known to be different.
fn switch(state: &mut Option<CampaignTime>, active: bool, pauses: &mut Vec<Span>, now: CampaignTime) -> bool {
    match (*state, active) {
        (None, true) => {
            let from = now.saturating_sub(INTERVAL);
            *state = Some(from);
            pauses.push(Span::open(from));
            return true;
        }
        (Some(from), false) => {
            *state = None;
            close(pauses.iter_mut().find(|span| span.from == from && span.until.is_none()), now);
        }
        _ => {}
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::history::{Condition, JobHistory, JobKind};

    const LOST_AFTER: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> CampaignTime {
        Duration::from_secs(seconds)
    }

    /// Four nodes with a Job each, of which the first `silent` have been cut off since 100.
    fn mk_history(silent: usize) -> History {
        let mut history = History::default();
        for node in ["node-1", "node-2", "node-3", "node-4"] {
            history.jobs.push(JobHistory::new(node, node, JobKind::Succeeds(at(1000)), at(0)));
            history.node(node);
        }
        for node in ["node-2", "node-3", "node-4"].into_iter().take(silent) {
            history.node(node).set_condition(at(100), Condition::CutOff);
        }
        history
    }

    fn mk_answer(holds: bool, listening: Duration) -> Answer {
        Answer { signals: "receiving".to_owned(), receives: true, listening, holds }
    }

    fn pauses(history: &mut History, holds: impl Fn(u64) -> bool, seconds: std::ops::Range<u64>) -> Vec<Span> {
        let mut monitor = GuardMonitor::default();
        for second in seconds {
            monitor.record(history, Some(&mk_answer(holds(second), at(second))), LOST_AFTER, at(second));
        }
        history.pauses.clone()
    }

    #[test]
    fn a_breaker_that_holds_for_one_or_two_nodes_excuses_nothing() {
        for silent in [1, 2] {
            assert_eq!(pauses(&mut mk_history(silent), |second| second >= 120, 90..300), [], "{silent} silent nodes");
        }
    }

    #[test]
    fn a_breaker_that_holds_for_three_nodes_excuses_until_it_releases() {
        let holds = |second| (120..200).contains(&second);
        assert_eq!(pauses(&mut mk_history(3), holds, 90..300), [Span { from: at(119), until: Some(at(200)) }]);
    }

    #[test]
    fn after_an_outage_of_the_signals_the_time_starts_again() {
        let (mut history, mut monitor) = (mk_history(0), GuardMonitor::default());
        history.disruptions.push(Span { from: at(118), until: Some(at(121)) });
        for second in 90..200 {
            let mut answer = mk_answer(false, at(second.min(120)));
            if (120..135).contains(&second) {
                (answer.receives, answer.signals) = (false, "self-beat".to_owned());
            }
            monitor.record(&mut history, Some(&answer), LOST_AFTER, at(second));
        }
        assert_eq!(history.pauses, [Span { from: at(119), until: Some(at(135)) }]);
        assert_eq!(history.terms.last(), Some(&at(135)));
    }

    #[test]
    fn a_breaker_that_never_releases_excuses_a_quarter_of_an_hour_and_a_minute_a_node() {
        let held = pauses(&mut mk_history(3), |second| second >= 120, 90..1500);
        assert_eq!(held.first(), Some(&Span { from: at(119), until: Some(at(119 + 19 * 60 + 1)) }));
    }
}
