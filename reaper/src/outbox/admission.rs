//! What is within the share of its namespace is recorded one by one, and what is beyond it together.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jobwarden_common::{identity::JobUid, notification::OutcomeData};
use jobwarden_core::outcome::{OutcomeLimits, OutcomeName, Tally, coalesce_at};

use super::{
    Outbox,
    share::{Admission, Due, Gathering, Shares},
};

/// For how long it is kept when the last coalesced outcome of a namespace was made.
const KEPT: Duration = Duration::from_mins(5);

impl Outbox {
    /// An empty outbox with these limits.
    pub fn limited(limits: OutcomeLimits) -> Self {
        let outbox = Self::new();
        outbox.set_limits(limits);
        outbox
    }

    /// Replaces the limits.
    pub fn set_limits(&self, limits: OutcomeLimits) {
        self.state().shares.limits = limits;
    }

    /// What is to be done about the outcome `name` of `job`, which is planned at `at`.
    pub(crate) fn admit(&self, job: &JobUid, name: &OutcomeName, data: &OutcomeData, at: Timestamp) -> Admission {
        let now = instant();
        let mut state = self.state();
        if state.entries.contains_key(name) {
            return Admission::Record;
        }
        let shares = &mut state.shares;
        if shares.covered.get(job).is_some_and(|covered| covered.contains_key(name)) {
            return Admission::Covered;
        }
        if shares.waiting.get(job).is_some_and(|waiting| waiting.contains(name)) {
            return Admission::Waits { is_new: false };
        }
        if !shares.is_used_up(&data.namespace, at) {
            return Admission::Record;
        }
        let gathering = shares.gathering.entry(data.namespace.clone());
        let gathering =
            gathering.or_insert_with(|| Gathering { tally: Tally::default(), members: Vec::new(), first: now });
        gathering.tally.add(data);
        gathering.members.push((job.clone(), name.clone()));
        shares.waiting.entry(job.clone()).or_default().insert(name.clone());
        Admission::Waits { is_new: true }
    }

    /// Whether an outcome of the Job waits to be part of a coalesced one.
    pub(crate) fn waits(&self, job: &JobUid) -> bool {
        self.state().shares.waiting.contains_key(job)
    }

    /// Takes what is to be recorded together now. What [`Self::cover`] or [`Self::gather_again`] is not called with is lost.
    pub(crate) fn take_due(&self) -> Vec<Due> {
        let now = instant();
        let mut state = self.state();
        let Shares { limits, gathering, coalesced, .. } = &mut state.shares;
        let is_due =
            |namespace: &String, it: &Gathering| coalesce_at(it.first, coalesced.get(namespace).copied()) <= now;
        let due: Vec<_> =
            gathering.iter().filter(|(namespace, it)| is_due(namespace, it)).map(|(it, _)| it.clone()).collect();
        coalesced.retain(|_, at| now.duration_since(*at) < KEPT);
        let due = due.into_iter().filter_map(|namespace| {
            let Gathering { tally, members, first: _ } = gathering.remove(&namespace)?;
            let limit = limits.of(&namespace);
            Some(Due { namespace, tally, limit, members })
        });
        due.collect()
    }

    /// The coalesced outcome `name` exists: each outcome that it counts is as good as recorded.
    pub(crate) fn cover(&self, due: Due, name: &OutcomeName) {
        {
            let mut state = self.state();
            state.shares.coalesced.insert(due.namespace, instant());
            for (job, member) in due.members {
                state.shares.settle_waiting(&job, &member);
                state.shares.covered.entry(job.clone()).or_default().insert(member, name.clone());
                state.changed.insert(job);
            }
        }
        self.version.send_modify(|version| *version += 1);
    }

    /// The coalesced outcome could not be made: its Jobs are evaluated again, and what is still planned is counted again.
    pub(crate) fn gather_again(&self, due: Due) {
        {
            let mut state = self.state();
            for (job, member) in due.members {
                state.shares.settle_waiting(&job, &member);
                state.changed.insert(job);
            }
        }
        self.version.send_modify(|version| *version += 1);
    }

    /// Drops what waits, because this process is not the leader any more: the next one finds it by the evidence.
    pub(crate) fn drop_waiting(&self) {
        let mut state = self.state();
        state.shares.gathering.clear();
        state.shares.waiting.clear();
    }

    /// The Job is forgotten, and with it what was coalesced of it.
    pub(crate) fn forget(&self, job: &JobUid) {
        self.state().shares.covered.remove(job);
    }
}

/// The monotonic clock of tokio, which tests can pause.
fn instant() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher;

    use super::*;
    use crate::outbox::{JobOutcome, Recipients, object::tests::mk_data};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    /// An outbox in which the namespace ort has recorded its share of two outcomes, at 0 and 100 s.
    fn used_up() -> Outbox {
        let outbox = Outbox::new();
        outbox.set_limits(OutcomeLimits::each(2));
        for (job, second) in [("a", 0), ("b", 100)] {
            outbox.note(JobOutcome::record(
                &OutcomeName::job_final(&job.into()),
                mk_data(),
                Recipients::default(),
                at(second),
            ));
        }
        outbox
    }

    fn admit(outbox: &Outbox, job: &str, namespace: &str, second: i64) -> Admission {
        let data = OutcomeData { namespace: namespace.to_owned(), ..mk_data() };
        outbox.admit(&job.into(), &OutcomeName::job_final(&job.into()), &data, at(second))
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_its_share_of_an_hour_an_outcome_waits() {
        let outbox = used_up();
        assert_eq!(admit(&outbox, "c", "other", 200), Admission::Record, "another namespace has a share of its own");
        assert_eq!(admit(&outbox, "c", "ort", 3601), Admission::Record, "the first is more than an hour old");
        assert_eq!(admit(&outbox, "c", "ort", 200), Admission::Waits { is_new: true });
        assert_eq!(admit(&outbox, "c", "ort", 200), Admission::Waits { is_new: false });
        assert_eq!(admit(&outbox, "a", "ort", 200), Admission::Record, "it exists, whatever the share is");
        assert!(outbox.waits(&"c".into()) && !outbox.waits(&"a".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_covered_once_its_coalesced_outcome_exists() {
        let outbox = used_up();
        admit(&outbox, "c", "ort", 200);
        admit(&outbox, "d", "ort", 200);
        assert!(outbox.take_due().is_empty(), "it is gathered for a while");
        tokio::time::advance(Duration::from_secs(10)).await;
        let due = outbox.take_due().pop().expect("due");
        assert_eq!((due.namespace.as_str(), due.tally.total(), due.limit), ("ort", 2, 2));
        let name = OutcomeName::coalesced("ort", 1);
        outbox.take_changed();
        outbox.cover(due, &name);
        assert_eq!(admit(&outbox, "c", "ort", 200), Admission::Covered);
        assert!(!outbox.waits(&"c".into()));
        assert_eq!(outbox.take_changed().len(), 2, "their Jobs are evaluated again");
        let of_job = outbox.of_job(&"c".into());
        assert_eq!(of_job.get(&OutcomeName::job_final(&"c".into())), Some(&true), "it counts as recorded");
        outbox.forget(&"c".into());
        assert!(outbox.of_job(&"c".into()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_coalesced_is_counted_again() {
        let outbox = used_up();
        admit(&outbox, "c", "ort", 200);
        tokio::time::advance(Duration::from_secs(10)).await;
        let due = outbox.take_due().pop().expect("due");
        assert_eq!(admit(&outbox, "c", "ort", 200), Admission::Waits { is_new: false }, "while it is being recorded");
        outbox.gather_again(due);
        assert_eq!(admit(&outbox, "c", "ort", 200), Admission::Waits { is_new: true });
        outbox.drop_waiting();
        assert!(!outbox.waits(&"c".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outcome_that_was_recorded_again_and_deleted_does_not_use_up_the_share() {
        let outbox = Outbox::limited(OutcomeLimits::each(1));
        let name = OutcomeName::job_final(&"a".into());
        let recorded = |second| JobOutcome::record(&name, mk_data(), Recipients::default(), at(second));
        outbox.note(recorded(0));
        outbox.note(recorded(50));
        assert!(matches!(admit(&outbox, "c", "ort", 100), Admission::Waits { .. }));
        outbox.drop_waiting();
        outbox.apply(watcher::Event::Delete(recorded(50)));
        assert_eq!(admit(&outbox, "c", "ort", 100), Admission::Record);
    }

    #[tokio::test(start_paused = true)]
    async fn coalesced_outcomes_do_not_use_up_the_share() {
        let outbox = Outbox::new();
        outbox.set_limits(OutcomeLimits::each(1));
        outbox.note(JobOutcome::record(&OutcomeName::coalesced("ort", 1), mk_data(), Recipients::default(), at(0)));
        assert_eq!(admit(&outbox, "c", "ort", 1), Admission::Record);
    }
}
