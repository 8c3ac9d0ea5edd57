//! The work queue: which Job is evaluated when, at most once at a time, and with backoff after failures.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use jobwarden_common::identity::JobUid;

use crate::{moment::Moment, turns::Turns};

/// The shortest requeue delay. Deadlines are moments of a clock that pauses while signals do not arrive; without a lower bound, a Job
/// whose deadline does not come closer would be evaluated continuously.
const MIN_REQUEUE: Duration = Duration::from_millis(100);
/// The backoff after a failure, doubled with every further one.
const BACKOFF: Duration = Duration::from_secs(1);
/// The longest backoff.
const BACKOFF_CAP: Duration = Duration::from_mins(1);

/// How the work on a Job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// All steps were executed.
    Done {
        /// After how long the Job is evaluated again even if nothing changes.
        requeue: Option<Duration>,
    },
    /// A step failed: the Job is evaluated again after the backoff.
    Failed {
        /// After how long time alone changes a verdict, which may be about something else than the step that failed.
        recheck: Option<Duration>,
    },
    /// The Job is no longer known.
    Forgotten,
}

/// The work queue of Jobs.
#[derive(Debug, Default)]
pub(super) struct WorkQueue {
    items: HashMap<JobUid, Item>,
    /// The Jobs that are not due yet.
    scheduled: BTreeSet<(Instant, JobUid)>,
    /// The Jobs that are due and wait for a worker; their namespaces take turns.
    ready: Turns<JobUid>,
    /// The Jobs that have become due since a worker was free, before their namespaces are known.
    promoted: Vec<JobUid>,
    /// The ready Jobs that changed since they were promoted.
    stale: Vec<JobUid>,
}

#[derive(Debug, Default)]
struct Item {
    due: Option<Instant>,
    state: State,
    failures: u32,
    /// When time alone may change the preview of the Job.
    preview_recheck: Option<Moment>,
    /// Its namespace, by the last preview.
    namespace: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It is not due yet.
    #[default]
    Waiting,
    /// It is due and waits for a worker.
    Ready {
        /// It changed since it was promoted.
        stale: bool,
    },
    /// A worker has taken it.
    Running {
        /// It changed since it was taken.
        changed: bool,
    },
}

impl WorkQueue {
    /// Enqueues a Job that has changed.
    pub(super) fn enqueue(&mut self, job: JobUid, now: Instant) {
        let item = self.items.entry(job.clone()).or_default();
        match &mut item.state {
            State::Running { changed } => *changed = true,
            State::Ready { stale: true } => {}
            State::Ready { stale } => {
                *stale = true;
                self.stale.push(job);
            }
            State::Waiting => {
                // A step that failed may succeed after a change, but frequent changes must not cause frequent attempts.
                let at = if item.failures == 0 { now } else { now + BACKOFF };
                if item.due.is_none_or(|due| at < due) {
                    self.schedule(job, at);
                }
            }
        }
    }

    /// The Jobs that have become due since the last call, and those that changed while they wait for a worker. All of them wait for
    /// [`Self::take`].
    pub(super) fn promote_due(&mut self, now: Instant) -> Vec<JobUid> {
        let mut jobs = std::mem::take(&mut self.stale);
        jobs.retain(|job| {
            let Some(Item { state: State::Ready { stale }, .. }) = self.items.get_mut(job) else { return false };
            std::mem::take(stale)
        });
        while let Some((at, _)) = self.scheduled.first()
            && *at <= now
            && let Some((_, job)) = self.scheduled.pop_first()
        {
            if let Some(item) = self.items.get_mut(&job) {
                (item.due, item.state) = (None, State::Ready { stale: false });
            }
            self.promoted.push(job.clone());
            jobs.push(job);
        }
        jobs
    }

    /// Records when time alone may change the preview of a Job.
    pub(super) fn set_preview_recheck(&mut self, job: &JobUid, at: Option<Moment>) {
        if let Some(item) = self.items.get_mut(job) {
            item.preview_recheck = at;
        }
    }

    /// Records the namespace of a Job that was promoted, in whose turn it is taken.
    pub(super) fn set_namespace(&mut self, job: &JobUid, namespace: &str) {
        if let Some(item) = self.items.get_mut(job)
            && item.namespace.as_deref() != Some(namespace)
        {
            item.namespace = Some(namespace.into());
        }
    }

    /// See [`Self::set_preview_recheck`].
    pub(super) fn preview_recheck(&self, job: &JobUid) -> Option<Moment> {
        self.items.get(job)?.preview_recheck
    }

    /// Takes up to `room` Jobs, of each namespace in turn. The caller calls [`Self::done`] for each.
    pub(super) fn take(&mut self, room: usize) -> Vec<JobUid> {
        for job in self.promoted.drain(..) {
            // Jobs that nothing is known of, because they are gone, share a turn.
            let namespace = self.items.get(&job).and_then(|item| item.namespace.as_deref()).unwrap_or_default();
            self.ready.push(namespace, job);
        }
        let jobs: Vec<_> = std::iter::from_fn(|| self.ready.pop()).take(room).collect();
        for job in &jobs {
            if let Some(item) = self.items.get_mut(job) {
                item.state = State::Running { changed: false };
            }
        }
        jobs
    }

    /// When the next Job becomes due, of those that are not due yet.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.scheduled.first().map(|(at, _)| *at)
    }

    /// Completes the work on a Job. `jitter` is a random number in `0..1`.
    pub(super) fn done(&mut self, job: &JobUid, completion: Completion, now: Instant, jitter: f64) {
        let Some(item) = self.items.get_mut(job) else { return };
        let changed = matches!(std::mem::take(&mut item.state), State::Running { changed: true });
        let at = match completion {
            Completion::Failed { recheck } => {
                item.failures = item.failures.saturating_add(1);
                let backoff = BACKOFF.saturating_mul(2_u32.saturating_pow(item.failures - 1)).min(BACKOFF_CAP);
                let backoff = backoff.mul_f64(0.5 + jitter / 2.0);
                let at = now + recheck.map_or(backoff, |recheck| backoff.min(recheck.max(BACKOFF)));
                Some(if changed { at.min(now + BACKOFF) } else { at })
            }
            Completion::Done { .. } | Completion::Forgotten if changed => Some(now),
            Completion::Done { requeue } => requeue.and_then(|after| now.checked_add(after.max(MIN_REQUEUE))),
            Completion::Forgotten => None,
        };
        if !matches!(completion, Completion::Failed { .. }) {
            item.failures = 0;
        }
        match at {
            Some(at) => self.schedule(job.clone(), at),
            // Nothing has to be kept: a change enqueues the Job again.
            None => {
                self.items.remove(job);
            }
        }
    }

    fn schedule(&mut self, job: JobUid, at: Instant) {
        let item = self.items.entry(job.clone()).or_default();
        if let Some(before) = item.due.replace(at) {
            self.scheduled.remove(&(before, job.clone()));
        }
        self.scheduled.insert((at, job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobUid {
        JobUid::from("j")
    }

    impl WorkQueue {
        fn take_due(&mut self, now: Instant, room: usize) -> Vec<JobUid> {
            self.promote_due(now);
            self.take(room)
        }
    }

    #[test]
    fn a_job_that_waits_for_a_worker_is_promoted_once_and_taken_once() {
        let now = Instant::now();
        let mut queue = WorkQueue::default();
        queue.enqueue(job(), now);
        assert_eq!(queue.promote_due(now), [job()]);
        queue.enqueue(job(), now);
        queue.promote_due(now);
        assert!(queue.next_due().is_none());
        assert_eq!(queue.take(9), [job()]);
        queue.done(&job(), Completion::Done { requeue: None }, now, 0.5);
        assert!(queue.take_due(now, 9).is_empty());
    }

    /// A queue whose only Job was taken.
    fn running(now: Instant) -> WorkQueue {
        let mut queue = WorkQueue::default();
        queue.enqueue(job(), now);
        assert_eq!(queue.take_due(now, 1), [job()]);
        queue
    }

    #[test]
    fn a_changed_job_is_taken_at_once_and_once() {
        let now = Instant::now();
        let mut queue = WorkQueue::default();
        queue.enqueue(job(), now);
        queue.enqueue(job(), now);
        assert_eq!(queue.take_due(now, 9), [job()]);
        assert!(queue.take_due(now, 9).is_empty());
    }

    #[test]
    fn a_job_is_never_taken_twice_at_the_same_time() {
        let now = Instant::now();
        let mut queue = running(now);
        queue.enqueue(job(), now);
        assert!(queue.take_due(now, 9).is_empty());
        queue.done(&job(), Completion::Done { requeue: None }, now, 0.5);
        assert_eq!(queue.take_due(now, 9), [job()], "a change in between is handled afterwards");
    }

    #[test]
    fn a_job_is_requeued_at_its_deadline_and_removed_without_one() {
        let now = Instant::now();
        let mut queue = running(now);
        queue.done(&job(), Completion::Done { requeue: Some(Duration::from_secs(20)) }, now, 0.5);
        assert_eq!(queue.next_due(), Some(now + Duration::from_secs(20)));
        assert!(queue.take_due(now + Duration::from_secs(19), 9).is_empty());
        assert_eq!(queue.take_due(now + Duration::from_secs(20), 9), [job()]);
        queue.done(&job(), Completion::Done { requeue: None }, now, 0.5);
        assert!(queue.items.is_empty() && queue.next_due().is_none());
    }

    #[test]
    fn a_deadline_on_a_paused_clock_does_not_cause_a_busy_loop() {
        let now = Instant::now();
        let mut queue = running(now);
        queue.done(&job(), Completion::Done { requeue: Some(Duration::ZERO) }, now, 0.5);
        assert_eq!(queue.next_due(), Some(now + MIN_REQUEUE));
    }

    #[test]
    fn failures_are_retried_with_growing_backoff() {
        let now = Instant::now();
        let mut queue = running(now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            queue.done(&job(), Completion::Failed { recheck: None }, now, 1.0);
            let due = queue.next_due().expect("the Job is scheduled again");
            pauses.push(due.duration_since(now).as_secs());
            assert_eq!(queue.take_due(due, 1), [job()]);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn what_time_changes_is_not_delayed_by_the_backoff() {
        let now = Instant::now();
        let mut queue = running(now);
        for failures in 1..8 {
            queue.done(&job(), Completion::Failed { recheck: Some(Duration::from_secs(5)) }, now, 1.0);
            assert_eq!(
                queue.next_due(),
                Some(now + Duration::from_secs(1 << (failures - 1)).min(Duration::from_secs(5)))
            );
            assert_eq!(queue.take_due(now + Duration::from_secs(5), 1), [job()]);
        }
        queue.done(&job(), Completion::Failed { recheck: Some(Duration::ZERO) }, now, 1.0);
        assert_eq!(queue.next_due(), Some(now + BACKOFF), "but not more often than that");
    }

    #[test]
    fn a_change_shortens_the_backoff_to_its_minimum() {
        let now = Instant::now();
        let mut queue = running(now);
        for _ in 0..6 {
            queue.done(&job(), Completion::Failed { recheck: None }, now, 1.0);
            let due = queue.next_due().expect("the Job is scheduled again");
            queue.take_due(due, 1);
        }
        queue.done(&job(), Completion::Failed { recheck: None }, now, 1.0);
        queue.enqueue(job(), now);
        assert_eq!(queue.next_due(), Some(now + BACKOFF));

        // Likewise a change during the step that fails.
        queue.take_due(now + BACKOFF, 1);
        queue.enqueue(job(), now + BACKOFF);
        queue.done(&job(), Completion::Failed { recheck: None }, now + BACKOFF, 1.0);
        assert_eq!(queue.next_due(), Some(now + 2 * BACKOFF));
    }

    #[test]
    fn no_more_jobs_are_taken_than_there_is_room_for() {
        let now = Instant::now();
        let mut queue = WorkQueue::default();
        for name in ["a", "b", "c"] {
            queue.enqueue(JobUid::from(name), now);
        }
        assert_eq!(queue.take_due(now, 2).len(), 2);
        assert_eq!(queue.take_due(now, 2).len(), 1);
    }

    #[test]
    fn the_job_of_another_namespace_does_not_wait_for_a_flood() {
        let now = Instant::now();
        let mut queue = WorkQueue::default();
        for number in 0..1000 {
            queue.enqueue(JobUid::from(format!("flood-{number}")), now);
        }
        for job in queue.promote_due(now) {
            queue.set_namespace(&job, "flood");
        }
        assert_eq!(queue.take(16).len(), 16);
        queue.enqueue(job(), now);
        for job in queue.promote_due(now) {
            queue.set_namespace(&job, "quiet");
        }
        assert!(queue.take(2).contains(&job()), "it is among the next two");
    }

    #[test]
    fn a_job_that_changes_while_it_waits_for_a_worker_is_previewed_again_and_taken_once() {
        let now = Instant::now();
        let mut queue = WorkQueue::default();
        queue.enqueue(job(), now);
        assert_eq!(queue.promote_due(now), [job()]);
        queue.enqueue(job(), now);
        queue.enqueue(job(), now);
        assert_eq!(queue.promote_due(now), [job()], "the breaker needs a new preview");
        assert!(queue.promote_due(now).is_empty());
        assert_eq!(queue.take(9), [job()]);
        assert!(queue.take_due(now, 9).is_empty());
    }
}
