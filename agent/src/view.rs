//! What the agent sees now, between the task that samples and the one that reports.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jobwarden_common::{identity::PodUid, observation::Report};
use tokio::time::Instant;

use crate::ledger::Ledger;

/// What the agent sees now; clones are the same view.
#[derive(Clone, Debug, Default)]
pub struct View(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    sight: Sight,
}

/// How far what the ledger says can be relied upon.
#[derive(Debug, Default)]
enum Sight {
    /// There was no sample yet.
    #[default]
    NotYet,
    /// The last sample is of then.
    Clear(Instant),
    /// There was none, for this reason.
    Blind(String),
}

impl View {
    /// Changes the ledger by a sample that was taken at `now`.
    pub fn sampled(&self, now: Instant, record: impl FnOnce(&mut Ledger)) {
        let mut state = self.state();
        record(&mut state.ledger);
        state.sight = Sight::Clear(now);
    }

    /// Nothing can be seen. The ledger stays as it is: what is not seen is not gone.
    pub fn blinded(&self, reason: String) {
        self.state().sight = Sight::Blind(reason);
    }

    /// The reaper has taken a report, and lists the worker pods of this node.
    pub fn acknowledged(&self, listed: Vec<PodUid>) {
        self.state().ledger.acknowledged(listed);
    }

    /// The report to make at `now`; a sample older than `stale_after` is as good as none.
    pub fn report(&self, seq: u64, now: Instant, stale_after: Duration) -> Report {
        let state = self.state();
        let blind = match &state.sight {
            Sight::NotYet => Some("no sample was taken yet".to_owned()),
            Sight::Blind(reason) => Some(reason.clone()),
            Sight::Clear(at) => {
                let age = now.duration_since(*at);
                (age > stale_after).then(|| format!("the last sample is {} s old", age.as_secs()))
            }
        };
        Report { seq, blind, pods: state.ledger.observations() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it is held ends the process.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Duration = Duration::from_secs(10);

    #[test]
    fn it_is_blind_until_the_first_sample_and_whenever_sampling_stops() {
        let (view, start) = (View::default(), Instant::now());
        assert!(view.report(0, start, STALE).blind.is_some());
        view.sampled(start, |ledger| ledger.record(&[]));
        assert_eq!(view.report(1, start + STALE, STALE).blind, None);
        let late = view.report(2, start + STALE + Duration::from_secs(2), STALE);
        assert_eq!(late.blind.as_deref(), Some("the last sample is 12 s old"));
        view.blinded("hidepid".to_owned());
        assert_eq!(view.report(3, start, STALE).blind.as_deref(), Some("hidepid"));
    }
}
