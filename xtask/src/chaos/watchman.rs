//! Asks the leading reaper every second whether it hears and what it holds: what delays a verdict rightly.

use std::time::Duration;

use jobwarden_tests::reaper::{self, Guards};
use kube::Client;
use tokio::time::{sleep, timeout};

use super::history::{At, History, Span};

/// Between two questions.
const EVERY: Duration = Duration::from_secs(1);
/// For how long after a fault of the control plane or of jobwarden the reaper may not hear. What comes to a new leader goes by the
/// Service's endpoints, which a controller writes and each node's proxy reads: both try again up to a minute after an API server
/// that was away is back (see [`super::due`]), and what could not reach the leader, its own beat too, within a quarter more.
const RECOVERY: Duration = Duration::from_secs(90);
/// The breaker holds when more Jobs than this are lost or about to be.
const MOST: usize = 20;
/// As many Jobs have to be silent for the breaker to hold rightly, less some that its count and ours see at different times.
const MANY: usize = 18;

/// What the leader said last.
#[derive(Clone, Debug, Default)]
pub(super) struct Watchman {
    /// Whether it hears.
    ears: String,
    /// Since when it does not hear, if so.
    deaf: Option<At>,
    /// Since when its breaker holds, if so.
    holding: Option<At>,
    /// For how long it had listened, and when it said so.
    listening: Option<(At, Duration)>,
}

/// What the leader says, if it answers.
pub(super) async fn ask(client: &Client) -> Option<Guards> {
    let answer = timeout(2 * EVERY, reaper::guards(client)).await.ok()?.ok();
    sleep(EVERY).await;
    answer
}

impl Watchman {
    /// Takes down an answer, or that there was none, where so many Jobs are silent in truth. Says what is new.
    pub(super) fn note(
        &mut self,
        history: &mut History,
        answer: Option<&Guards>,
        silent: usize,
        now: At,
    ) -> Option<String> {
        let ears = answer.map_or("no leader answers", |guards| guards.ears.as_str());
        let hears = ears == "open";
        let holds = answer.is_some_and(|guards| guards.breaker.holds || guards.breaker.lost > MOST);
        let mut news = None;
        if let Some(term) = answer.and_then(|guards| self.term(guards, now)) {
            history.terms.push(term);
            news = Some("a leader has begun to listen".to_owned());
        }
        if self.ears != ears {
            news = Some(format!("the leader's ears: {ears}"));
            ears.clone_into(&mut self.ears);
        }
        let excused = history.upheavals.iter().any(|span| span.meets(now.saturating_sub(RECOVERY), now));
        switch(&mut self.deaf, !hears && excused, &mut history.pauses, now);
        let rightly = silent >= MANY || self.holding.is_some();
        if switch(&mut self.holding, holds && rightly, &mut history.pauses, now) {
            news = Some(format!("the breaker holds: {silent} Jobs are silent"));
        }
        news
    }

    /// When the term of this leader began, if it is another than before.
    fn term(&mut self, guards: &Guards, now: At) -> Option<At> {
        let listening = Duration::from_secs(guards.listening_seconds);
        // Its clock stands still while it is deaf, but never goes back, save for what turns out to have been deafness.
        let known = self.listening.replace((now, listening));
        let is_new = known.is_none_or(|(_, before)| listening + Duration::from_secs(20) < before);
        is_new.then(|| now.saturating_sub(listening))
    }
}

/// Begins or ends a pause; whether one has begun. A pause begins when it was not yet so for the last time.
fn switch(state: &mut Option<At>, so: bool, pauses: &mut Vec<Span>, now: At) -> bool {
    match (*state, so) {
        (None, true) => {
            let from = now.saturating_sub(EVERY);
            *state = Some(from);
            pauses.push(Span::since(from));
            return true;
        }
        (Some(from), false) => {
            *state = None;
            let open = pauses.iter_mut().find(|span| span.from == from && span.until.is_none());
            if let Some(span) = open {
                span.until = Some(now);
            }
        }
        _ => {}
    }
    false
}
