//! The current observations, shared by the task that samples and the task that reports.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jobwarden_common::{identity::PodUid, observation::Report};
use tokio::time::Instant;

use crate::ledger::Ledger;

/// The current observations; clones share them.
#[derive(Clone, Debug, Default)]
pub struct View(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    sampling: Sampling,
}

/// How current the ledger is.
#[derive(Debug, Default)]
enum Sampling {
    /// There is no sample yet.
    #[default]
    NotStarted,
    /// The last sample succeeded at this time.
    Succeeded(Instant),
    /// The last sample failed for this reason.
    Failed(String),
}

impl View {
    /// Records a sample that was taken at `now`.
    pub fn sampled(&self, now: Instant, record: impl FnOnce(&mut Ledger)) {
        let mut state = self.state();
        record(&mut state.ledger);
        state.sampling = Sampling::Succeeded(now);
    }

    /// Records that sampling failed. The ledger stays unchanged: a process that was not sampled may still exist.
    pub fn failed(&self, reason: String) {
        self.state().sampling = Sampling::Failed(reason);
    }

    /// Records the worker pods of this node that the reaper listed in reply to a report.
    pub fn acknowledged(&self, listed: Vec<PodUid>) {
        self.state().ledger.acknowledged(listed);
    }

    /// The report at `now`, which is blind if the last sample is older than `stale_after`.
    pub fn report(&self, seq: u64, now: Instant, stale_after: Duration) -> Report {
        let state = self.state();
        let blind = match &state.sampling {
            Sampling::NotStarted => Some("no sample yet".to_owned()),
            Sampling::Failed(reason) => Some(reason.clone()),
            Sampling::Succeeded(at) => {
                let age = now.duration_since(*at);
                (age > stale_after).then(|| format!("the last sample is {} s old", age.as_secs()))
            }
        };
        Report { seq, blind, pods: state.ledger.observations() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held ends the process.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Duration = Duration::from_secs(10);

    #[test]
    fn a_report_is_blind_before_the_first_sample_and_when_sampling_stops_or_fails() {
        let (view, start) = (View::default(), Instant::now());
        assert!(view.report(0, start, STALE).blind.is_some());
        view.sampled(start, |ledger| ledger.record(&[]));
        assert_eq!(view.report(1, start + STALE, STALE).blind, None);
        let late = view.report(2, start + STALE + Duration::from_secs(2), STALE);
        assert_eq!(late.blind.as_deref(), Some("the last sample is 12 s old"));
        view.failed("hidepid".to_owned());
        assert_eq!(view.report(3, start, STALE).blind.as_deref(), Some("hidepid"));
    }
}
