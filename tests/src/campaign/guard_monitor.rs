//! Asks the leading reaper every second whether it receives signals and what its guards hold: both rightly delay verdicts.

use std::time::Duration;

use kube::Client;
use tokio::time::{sleep, timeout};

use super::history::{CampaignTime, History, Span, close};
use crate::reaper_api::{self, Guards};

/// The time between two requests.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long after a disruption of the control plane or of jobwarden the reaper may receive no signals. Traffic to a new
/// leader goes through the Service's endpoints, which a controller writes and each node's proxy reads. After an API server
/// outage both retry for up to a minute (see [`super::deadline`]), and senders that could not reach the leader, including its
/// self-beat, retry within another quarter of a minute.
const RECOVERY: Duration = Duration::from_secs(90);
/// The breaker holds when more Jobs than this are lost or about to be lost.
const BREAKER_LIMIT: usize = 20;
/// The number of silent Jobs from which the breaker rightly holds. It is lower than the limit because the reaper and the
/// campaign count at different times.
const RIGHTLY_HELD: usize = 18;

/// The leader's last answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct GuardMonitor {
    /// Whether it receives signals, in its words.
    signals: String,
    /// Since when it receives none, if it receives none.
    deaf_since: Option<CampaignTime>,
    /// Since when its breaker holds, if it holds.
    holding_since: Option<CampaignTime>,
    /// For how long it had received signals, and when it said so.
    listening: Option<(CampaignTime, Duration)>,
}

/// The guards of the leader, if it answers.
pub(crate) async fn ask(client: &Client) -> Option<Guards> {
    let answer = timeout(2 * INTERVAL, reaper_api::guards(client)).await.ok()?.ok();
    sleep(INTERVAL).await;
    answer
}

impl GuardMonitor {
    /// Records an answer or its absence, and the true number of silent Jobs. Returns a line of text if something changed.
    pub(crate) fn record(
        &mut self,
        history: &mut History,
        answer: Option<&Guards>,
        silent: usize,
        now: CampaignTime,
    ) -> Option<String> {
        let signals = answer.map_or("no leader answers", |guards| guards.signals.as_str());
        let receives = answer.is_some_and(Guards::receives_signals);
        let holds = answer.is_some_and(|guards| guards.breaker.holds || guards.breaker.lost > BREAKER_LIMIT);
        let mut news = None;
        if let Some(term) = answer.and_then(|guards| self.new_term(guards, now)) {
            history.terms.push(term);
            news = Some("a new leader receives signals".to_owned());
        }
        if self.signals != signals {
            news = Some(format!("the leader's signals: {signals}"));
            signals.clone_into(&mut self.signals);
        }
        let excused = history.disruptions.iter().any(|span| span.overlaps(now.saturating_sub(RECOVERY), now));
        switch(&mut self.deaf_since, !receives && excused, &mut history.pauses, now);
        let rightly = silent >= RIGHTLY_HELD || self.holding_since.is_some();
        if switch(&mut self.holding_since, holds && rightly, &mut history.pauses, now) {
            news = Some(format!("the breaker holds: {silent} Jobs are silent"));
        }
        news
    }

    /// When the term of this leader began, if it is a new leader.
    fn new_term(&mut self, guards: &Guards, now: CampaignTime) -> Option<CampaignTime> {
        let listening = Duration::from_secs(guards.listening_seconds);
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
