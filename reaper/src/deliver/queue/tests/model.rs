//! The queue against a naive one that walks over everything and sorts it.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::deliver::breaker::Breaker;

const GIVE_UP_AFTER: Duration = Duration::from_mins(10);

#[derive(Clone, Copy, Debug)]
enum Step {
    Track {
        outcome: usize,
        age: i64,
        attempts: u32,
    },
    Forget {
        outcome: usize,
    },
    /// Marks what has expired, starts what may start, and checks when the queue wants to be woken.
    Wake {
        limit: usize,
    },
    /// The attempt in flight at this index ends.
    Finish {
        index: usize,
        result: Attempted,
        jitter: f64,
    },
    Advance {
        millis: u64,
    },
    /// The wall clock is set.
    Set {
        seconds: i64,
    },
}

#[derive(Clone, Debug)]
struct NaiveItem {
    name: OutcomeName,
    namespace: String,
    created_at: Timestamp,
    attempts: u32,
    /// `None` while in flight.
    due: Option<Instant>,
}

/// The rules of the queue, as they are written in its docs.
struct Naive {
    items: Vec<NaiveItem>,
    in_flight: Vec<(OutcomeName, String)>,
    concurrency: usize,
    breaker: Breaker,
}

impl Naive {
    fn start(&mut self, now: Instant) -> Vec<OutcomeName> {
        let mut started = Vec::new();
        while self.breaker.admits_from(self.in_flight.len(), now).is_some_and(|from| from <= now) {
            let in_flight = |namespace: &str| self.in_flight.iter().filter(|(_, of)| of == namespace).count();
            let mut due: Vec<_> = self.items.iter_mut().filter(|item| item.due.is_some_and(|at| at <= now)).collect();
            due.retain(|item| in_flight(&item.namespace) < share(self.concurrency));
            due.sort_by_key(|item| (in_flight(&item.namespace), item.created_at, item.name.clone()));
            let Some(next) = due.into_iter().next() else { break };
            next.due = None;
            self.breaker.started();
            self.in_flight.push((next.name.clone(), next.namespace.clone()));
            started.push(next.name.clone());
        }
        started
    }

    fn finished(&mut self, name: &OutcomeName, result: Attempted, now: Instant, wall: Timestamp, jitter: f64) -> Next {
        self.in_flight.retain(|(known, _)| known != name);
        let item = self.items.iter().position(|item| item.name == *name).map(|index| self.items.remove(index));
        match result {
            Attempted::Unsent => self.breaker.unsent(),
            Attempted::Failed { fault: Fault::Sink, retry_after } => {
                self.breaker.failed(retry_after, now, wall, jitter);
            }
            _ => self.breaker.answered(),
        }
        match (item, result) {
            (Some(item), Attempted::Failed { fault: Fault::Sink | Fault::Message, retry_after }) => {
                let age = Duration::try_from(wall.duration_since(item.created_at)).unwrap_or_default();
                if age >= GIVE_UP_AFTER {
                    return Next::Dead;
                }
                let attempts = item.attempts + 1;
                let at = now + pause(attempts, age, retry_after, jitter);
                self.items.push(NaiveItem { attempts, due: Some(at), ..item });
                Next::Retry(at)
            }
            _ => Next::Settled,
        }
    }

    fn expired(&mut self, wall: Timestamp, limit: usize) -> Vec<OutcomeName> {
        let open_since = self.breaker.open_since();
        let deadline = |item: &NaiveItem| {
            let by_age = item.created_at + GIVE_UP_AFTER;
            match open_since {
                _ if item.due.is_none() => None,
                _ if item.attempts > 0 => Some(by_age),
                Some(since) if since <= by_age => Some(by_age),
                Some(since) => Some(since + GIVE_UP_AFTER),
                None => None,
            }
        };
        let mut expired: Vec<_> = self
            .items
            .iter()
            .filter_map(|item| Some((deadline(item)?, item.created_at, item.name.clone())))
            .filter(|(deadline, ..)| *deadline <= wall)
            .collect();
        expired.sort();
        let expired: Vec<_> = expired.into_iter().map(|(.., name)| name).take(limit).collect();
        self.items.retain(|item| !expired.contains(&item.name));
        expired
    }
}

/// Both queues and both clocks.
struct Pair {
    queue: Queue,
    naive: Naive,
    now: Instant,
    wall: Timestamp,
}

impl Pair {
    fn new(concurrency: usize) -> Self {
        let (now, wall) = (Instant::now(), wall(0));
        let queue = Queue::new(concurrency, GIVE_UP_AFTER, now, wall);
        let breaker = Breaker::new(concurrency);
        Self { queue, naive: Naive { items: Vec::new(), in_flight: Vec::new(), concurrency, breaker }, now, wall }
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Track { outcome, age, attempts } => self.track(outcome, age, attempts),
            Step::Forget { outcome } => {
                self.queue.forget(&numbered(outcome));
                self.naive.items.retain(|item| item.name != numbered(outcome));
            }
            Step::Wake { limit } => return self.wake(limit),
            Step::Finish { index, result, jitter } => {
                let in_flight = self.naive.in_flight.len();
                if in_flight > 0 {
                    let name = self.naive.in_flight[index % in_flight].0.clone();
                    let expected = self.naive.finished(&name, result, self.now, self.wall, jitter);
                    prop_assert_eq!(self.queue.finished(&name, result, self.now, self.wall, jitter), expected);
                }
            }
            Step::Advance { millis } => {
                self.now += Duration::from_millis(millis);
                self.wall += Duration::from_millis(millis);
            }
            Step::Set { seconds } => self.wall += SignedDuration::from_secs(seconds),
        }
        Ok(())
    }

    fn track(&mut self, outcome: usize, age: i64, attempts: u32) {
        let (name, namespace) = (numbered(outcome), ["a", "b", "c"][outcome % 3]);
        let created_at = self.wall - SignedDuration::from_secs(age);
        self.queue.track(name.clone(), namespace, created_at, attempts, self.now, self.wall);
        if self.naive.items.iter().all(|item| item.name != name) {
            let flies = self.naive.in_flight.iter().any(|(known, _)| *known == name);
            let due = (!flies).then_some(self.now);
            self.naive.items.push(NaiveItem { name, namespace: namespace.to_owned(), created_at, attempts, due });
        }
    }

    fn wake(&mut self, limit: usize) -> Result<(), TestCaseError> {
        let expired = self.queue.expired(self.now, self.wall, limit);
        prop_assert_eq!(&expired, &self.naive.expired(self.wall, limit));
        prop_assert_eq!(self.queue.start(self.now), self.naive.start(self.now));
        let wake_at = self.queue.wake_at();
        if expired.len() < limit {
            prop_assert!(wake_at.is_none_or(|at| at > self.now), "nothing is left to do now");
        }
        // A moment before, or in a year if no wake is wanted, there is nothing to do.
        let until = wake_at.unwrap_or(self.now + Duration::from_hours(8760)) - Duration::from_nanos(1);
        if until > self.now {
            let mut idle = self.queue.clone();
            prop_assert!(idle.expired(until, self.wall + (until - self.now), usize::MAX).is_empty());
            prop_assert!(idle.start(until).is_empty());
        }
        // A namespace that has its share may be woken for in vain, but while the breaker is open nothing is in flight.
        if let (Some(at), BreakerState::Open { .. }) = (wake_at, self.queue.breaker()) {
            let mut woken = self.queue.clone();
            let expired = woken.expired(at, self.wall + (at - self.now), usize::MAX);
            prop_assert!(!expired.is_empty() || !woken.start(at).is_empty());
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let naive = &self.naive;
        prop_assert_eq!(self.queue.pending(), naive.items.len());
        prop_assert_eq!(self.queue.in_flight(), naive.in_flight.len());
        prop_assert_eq!(self.queue.oldest(), naive.items.iter().map(|item| item.created_at).min());
        prop_assert_eq!(self.queue.breaker(), naive.breaker.state());
        Ok(())
    }
}

fn numbered(outcome: usize) -> OutcomeName {
    OutcomeName::from_object(&format!("{outcome:02}"))
}

fn results() -> impl Strategy<Value = Attempted> {
    let retry_after =
        prop_oneof![4 => Just(None), 1 => (0_u64..2000).prop_map(|seconds| Some(Duration::from_secs(seconds)))];
    prop_oneof![
        2 => Just(Attempted::Done),
        1 => Just(Attempted::Unsent),
        1 => Just(REFUSAL),
        2 => Just(MESSAGE_FAULT),
        6 => retry_after.prop_map(|retry_after| Attempted::Failed { fault: Fault::Sink, retry_after }),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..40, prop_oneof![3 => 0_i64..20, 1 => 590_i64..620, 1 => -5_i64..1300], prop_oneof![3 => Just(0_u32), 1 => 1_u32..20])
            .prop_map(|(outcome, age, attempts)| Step::Track { outcome, age, attempts }),
        1 => (0_usize..40).prop_map(|outcome| Step::Forget { outcome }),
        8 => prop_oneof![Just(usize::MAX), 0_usize..3].prop_map(|limit| Step::Wake { limit }),
        8 => (any::<usize>(), results(), 0.0..1.0).prop_map(|(index, result, jitter)| Step::Finish { index, result, jitter }),
        4 => prop_oneof![4 => 0_u64..3000, 1 => 0_u64..700_000].prop_map(|millis| Step::Advance { millis }),
        1 => (-400_i64..400).prop_map(|seconds| Step::Set { seconds }),
    ]
}

proptest! {
    #[test]
    fn the_queue_decides_as_one_that_sorts_everything(
        concurrency in 1_usize..9,
        steps in prop::collection::vec(steps(), 0..150),
    ) {
        let mut pair = Pair::new(concurrency);
        for step in steps {
            pair.take(step)?;
            pair.check()?;
        }
    }
}
