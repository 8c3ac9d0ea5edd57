//! Which Job is to be looked at when; at most once at a time, and with patience after failures.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use jobwarden_common::identity::JobUid;
use tokio::time::Instant;

/// The least time to the next look that time alone calls for: deadlines are kept by a clock that stands while the reaper
/// is deaf, and must not be asked for continually.
const LEAST: Duration = Duration::from_millis(100);
/// The time to the next look after a failure, doubled with every further one.
const BACKOFF: Duration = Duration::from_secs(1);
/// The most time to the next look after a failure.
const BACKOFF_CAP: Duration = Duration::from_mins(1);

/// How a look at a Job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// All was done; look again after this time, if time alone may change something.
    Well(Option<Duration>),
    /// Something could not be done.
    Failed,
    /// There is no such Job any more.
    Over,
}

/// Which Job is to be looked at when.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    items: HashMap<JobUid, Item>,
    due: BTreeSet<(Instant, JobUid)>,
    /// Due, and waiting for their turn.
    ripe: VecDeque<JobUid>,
}

#[derive(Debug, Default)]
struct Item {
    due: Option<Instant>,
    ripe: bool,
    running: bool,
    touched_while_running: bool,
    failures: u32,
}

impl Agenda {
    /// Something about the Job has changed.
    pub(super) fn touch(&mut self, job: JobUid, now: Instant) {
        let item = self.items.entry(job.clone()).or_default();
        if item.running {
            item.touched_while_running = true;
            return;
        }
        if item.ripe {
            return;
        }
        // What failed may succeed after a change, but a stream of changes is no reason to try in a stream.
        let at = if item.failures == 0 { now } else { now + BACKOFF };
        if item.due.is_none_or(|due| at < due) {
            self.schedule(job, at);
        }
    }

    /// The Jobs whose time has come since this was last asked; they wait for [`Self::take`].
    pub(super) fn ripen(&mut self, now: Instant) -> Vec<JobUid> {
        let mut jobs = Vec::new();
        while let Some((at, _)) = self.due.first()
            && *at <= now
            && let Some((_, job)) = self.due.pop_first()
        {
            if let Some(item) = self.items.get_mut(&job) {
                (item.due, item.ripe) = (None, true);
            }
            self.ripe.push_back(job.clone());
            jobs.push(job);
        }
        jobs
    }

    /// The Jobs to be looked at now, `room` at most; [`Self::done`] is awaited for each.
    pub(super) fn take(&mut self, room: usize) -> Vec<JobUid> {
        let jobs: Vec<_> = self.ripe.drain(..room.min(self.ripe.len())).collect();
        for job in &jobs {
            if let Some(item) = self.items.get_mut(job) {
                (item.ripe, item.running) = (false, true);
            }
        }
        jobs
    }

    /// When the next Job is to be looked at of those whose time has not come.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A look has ended. `jitter` is a random number in 0..1.
    pub(super) fn done(&mut self, job: &JobUid, done: Done, now: Instant, jitter: f64) {
        let Some(item) = self.items.get_mut(job) else { return };
        item.running = false;
        let touched = std::mem::take(&mut item.touched_while_running);
        let at = match done {
            Done::Failed => {
                item.failures = item.failures.saturating_add(1);
                let pause = BACKOFF.saturating_mul(2_u32.saturating_pow(item.failures - 1)).min(BACKOFF_CAP);
                let at = now + pause.mul_f64(0.5 + jitter / 2.0);
                Some(if touched { at.min(now + BACKOFF) } else { at })
            }
            Done::Well(_) | Done::Over if touched => Some(now),
            Done::Well(after) => after.map(|after| now + after.max(LEAST)),
            Done::Over => None,
        };
        if done != Done::Failed {
            item.failures = 0;
        }
        match at {
            Some(at) => self.schedule(job.clone(), at),
            // Nothing to remember: a change puts it back.
            None => {
                self.items.remove(job);
            }
        }
    }

    fn schedule(&mut self, job: JobUid, at: Instant) {
        let item = self.items.entry(job.clone()).or_default();
        if let Some(before) = item.due.replace(at) {
            self.due.remove(&(before, job.clone()));
        }
        self.due.insert((at, job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobUid {
        JobUid::from("j")
    }

    impl Agenda {
        fn take_due(&mut self, now: Instant, room: usize) -> Vec<JobUid> {
            self.ripen(now);
            self.take(room)
        }
    }

    #[test]
    fn what_waits_for_its_turn_is_told_of_once_and_looked_at_once() {
        let now = Instant::now();
        let mut agenda = Agenda::default();
        agenda.touch(job(), now);
        assert_eq!(agenda.ripen(now), [job()]);
        agenda.touch(job(), now);
        assert!(agenda.ripen(now).is_empty() && agenda.next_due().is_none());
        assert_eq!(agenda.take(9), [job()]);
        agenda.done(&job(), Done::Well(None), now, 0.5);
        assert!(agenda.take_due(now, 9).is_empty());
    }

    /// An agenda whose one Job is being looked at.
    fn running(now: Instant) -> Agenda {
        let mut agenda = Agenda::default();
        agenda.touch(job(), now);
        assert_eq!(agenda.take_due(now, 1), [job()]);
        agenda
    }

    #[test]
    fn a_change_is_looked_at_at_once_and_once() {
        let now = Instant::now();
        let mut agenda = Agenda::default();
        agenda.touch(job(), now);
        agenda.touch(job(), now);
        assert_eq!(agenda.take_due(now, 9), [job()]);
        assert!(agenda.take_due(now, 9).is_empty());
    }

    #[test]
    fn a_job_is_never_looked_at_twice_at_one_time() {
        let now = Instant::now();
        let mut agenda = running(now);
        agenda.touch(job(), now);
        assert!(agenda.take_due(now, 9).is_empty());
        agenda.done(&job(), Done::Well(None), now, 0.5);
        assert_eq!(agenda.take_due(now, 9), [job()], "what changed meanwhile is looked at then");
    }

    #[test]
    fn a_deadline_is_kept_and_a_job_without_one_costs_nothing() {
        let now = Instant::now();
        let mut agenda = running(now);
        agenda.done(&job(), Done::Well(Some(Duration::from_secs(20))), now, 0.5);
        assert_eq!(agenda.next_due(), Some(now + Duration::from_secs(20)));
        assert!(agenda.take_due(now + Duration::from_secs(19), 9).is_empty());
        assert_eq!(agenda.take_due(now + Duration::from_secs(20), 9), [job()]);
        agenda.done(&job(), Done::Well(None), now, 0.5);
        assert!(agenda.items.is_empty() && agenda.next_due().is_none());
    }

    #[test]
    fn a_deadline_that_stands_still_is_not_asked_for_continually() {
        let now = Instant::now();
        let mut agenda = running(now);
        agenda.done(&job(), Done::Well(Some(Duration::ZERO)), now, 0.5);
        assert_eq!(agenda.next_due(), Some(now + LEAST));
    }

    #[test]
    fn failures_are_repeated_ever_more_patiently() {
        let now = Instant::now();
        let mut agenda = running(now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            agenda.done(&job(), Done::Failed, now, 1.0);
            let due = agenda.next_due().expect("it is tried again");
            pauses.push(due.duration_since(now).as_secs());
            assert_eq!(agenda.take_due(due, 1), [job()]);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_change_shortens_the_patience_but_not_to_nothing() {
        let now = Instant::now();
        let mut agenda = running(now);
        for _ in 0..6 {
            agenda.done(&job(), Done::Failed, now, 1.0);
            let due = agenda.next_due().expect("it is tried again");
            agenda.take_due(due, 1);
        }
        agenda.done(&job(), Done::Failed, now, 1.0);
        agenda.touch(job(), now);
        assert_eq!(agenda.next_due(), Some(now + BACKOFF));
    }

    #[test]
    fn no_more_are_taken_than_there_is_room_for() {
        let now = Instant::now();
        let mut agenda = Agenda::default();
        for name in ["a", "b", "c"] {
            agenda.touch(JobUid::from(name), now);
        }
        assert_eq!(agenda.take_due(now, 2).len(), 2);
        assert_eq!(agenda.take_due(now, 2).len(), 1);
    }
}
