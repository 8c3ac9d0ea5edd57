//! Laws of the queue, over whole histories of a sink that is down now and then. The clock goes from one event to the next, as the worker's
//! does, so a queue that asks to be woken too late or forgets an outcome does not come to an end.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The number of outcomes in each namespace is below this.
const OUTCOMES: usize = 60;

#[derive(Clone, Debug)]
struct History {
    /// Namespace, when it is tracked, and its age then, in seconds.
    outcomes: Vec<(usize, u64, i64)>,
    /// When the sink is down, in seconds.
    down: (u64, u64),
    give_up_after: Duration,
    /// How long attempts take: one after the other from this list.
    latencies: Vec<u64>,
    seed: u64,
}

/// What runs and what has happened.
struct Run {
    queue: Queue,
    history: History,
    random: fastrand::Rng,
    start: Instant,
    now: Instant,
    flights: BTreeMap<OutcomeName, Flight>,
    /// When it is tracked, its name, namespace and creation; the next is the last.
    untracked: Vec<(u64, OutcomeName, String, Timestamp)>,
    ended: BTreeMap<OutcomeName, Next>,
    /// What the receiver could not process once.
    unprocessed: BTreeSet<OutcomeName>,
    attempts: usize,
    /// When the last probe failed, and how many have since the breaker opened.
    failed_probes: Option<(Instant, u32)>,
    wakes: usize,
}

struct Flight {
    namespace: String,
    ends: Instant,
    is_probe: bool,
}

impl Run {
    fn new(history: History) -> Self {
        let start = Instant::now();
        let queue = Queue::new(CONCURRENCY, history.give_up_after, start, wall(0));
        let mut untracked: Vec<_> = (0..)
            .zip(&history.outcomes)
            .map(|(number, (namespace, at, age))| {
                let created_at = wall(i64::try_from(*at).expect("small") - age);
                (*at, OutcomeName::from_object(&format!("{number:03}")), format!("n{namespace}"), created_at)
            })
            .collect();
        untracked.sort();
        untracked.reverse();
        Self {
            queue,
            random: fastrand::Rng::with_seed(history.seed),
            history,
            start,
            now: start,
            flights: BTreeMap::new(),
            untracked,
            ended: BTreeMap::new(),
            unprocessed: BTreeSet::new(),
            attempts: 0,
            failed_probes: None,
            wakes: 0,
        }
    }

    fn wall(&self) -> Timestamp {
        wall(0) + (self.now - self.start)
    }

    fn is_down(&self) -> bool {
        let (from, until) = self.history.down;
        (from..until).contains(&(self.now - self.start).as_secs())
    }

    /// What the worker does on a wake. Returns whether anything is left to happen.
    fn wake(&mut self) -> Result<bool, TestCaseError> {
        self.wakes += 1;
        while self.untracked.last().is_some_and(|(at, ..)| self.start + Duration::from_secs(*at) <= self.now) {
            let (_, name, namespace, created_at) = self.untracked.pop().expect("there is a last");
            self.queue.track(name, namespace, created_at, 0, self.now, self.wall());
        }
        let ended: Vec<_> =
            self.flights.iter().filter(|(_, flight)| flight.ends <= self.now).map(|(name, _)| name.clone()).collect();
        for name in ended {
            self.end(&name);
        }
        for name in self.queue.expired(self.now, self.wall(), 3) {
            self.ended.insert(name, Next::Dead);
        }
        self.start()?;
        let next_end = self.flights.values().map(|flight| flight.ends).min();
        let next_track = self.untracked.last().map(|(at, ..)| self.start + Duration::from_secs(*at));
        let next = next_end.into_iter().chain(next_track).chain(self.queue.wake_at()).min();
        self.now = next.unwrap_or(self.now);
        Ok(next.is_some())
    }

    fn start(&mut self) -> Result<(), TestCaseError> {
        let in_flight = self.flights.len();
        let is_open = self.queue.breaker() != BreakerState::Closed;
        let started = self.queue.start(self.now);
        for name in &started {
            let number: usize = name.as_str().parse().expect("a number");
            let namespace = format!("n{}", self.history.outcomes[number].0);
            let latency = self.history.latencies[self.attempts % self.history.latencies.len()];
            self.attempts += 1;
            let flight = Flight { namespace, ends: self.now + Duration::from_millis(latency), is_probe: is_open };
            prop_assert!(self.flights.insert(name.clone(), flight).is_none(), "one attempt of an outcome at a time");
            prop_assert!(!self.ended.contains_key(name), "what has ended is not attempted");
        }
        prop_assert!(self.flights.len() <= CONCURRENCY);
        for flight in self.flights.values() {
            let of_namespace = self.flights.values().filter(|other| other.namespace == flight.namespace).count();
            prop_assert!(of_namespace <= 6);
        }
        if is_open && !started.is_empty() {
            prop_assert!(in_flight == 0 && started.len() == 1, "one probe at a time");
            if let Some((failed, count)) = self.failed_probes {
                let half = Duration::from_secs(2_u64.pow(count.min(10)).min(60)) / 2;
                prop_assert!(self.now >= failed + half, "a pause between two probes");
            }
        }
        prop_assert_eq!(self.queue.in_flight(), self.flights.len());
        Ok(())
    }

    fn end(&mut self, name: &OutcomeName) {
        let is_probe = self.flights.remove(name).is_some_and(|flight| flight.is_probe);
        let result = match self.random.u8(0..10) {
            _ if self.is_down() => SINK_FAULT,
            0 if self.unprocessed.insert(name.clone()) => MESSAGE_FAULT,
            1 => REFUSAL,
            _ => Attempted::Done,
        };
        let next = self.queue.finished(name, result, self.now, self.wall(), self.random.f64());
        if self.queue.breaker() == BreakerState::Closed {
            self.failed_probes = None;
        } else if is_probe {
            self.failed_probes = Some((self.now, self.failed_probes.map_or(0, |(_, count)| count) + 1));
        }
        if !matches!(next, Next::Retry(_)) {
            self.ended.insert(name.clone(), next);
        }
    }
}

fn histories() -> impl Strategy<Value = History> {
    let outcome = (0_usize..4, prop_oneof![2 => Just(0_u64), 1 => 0_u64..3000], 0_i64..100);
    (
        prop::collection::vec(outcome, 1..OUTCOMES),
        (0_u64..1000, 0_u64..3600),
        prop_oneof![Just(Duration::from_mins(10)), Just(Duration::from_hours(24))],
        prop::collection::vec(1_u64..10_000, 1..20),
        any::<u64>(),
    )
        .prop_map(|(outcomes, (from, length), give_up_after, latencies, seed)| History {
            outcomes,
            down: (from, from + length),
            give_up_after,
            latencies,
            seed,
        })
}

proptest! {
    #[test]
    fn every_outcome_is_delivered_or_expires_once_the_sink_is_up(history in histories()) {
        let (outcomes, up_again) = (history.outcomes.len(), history.down.1);
        let gives_up = history.give_up_after < Duration::from_hours(1);
        let mut run = Run::new(history);
        while run.wake()? {
            prop_assert!(run.wakes < 20_000, "a busy loop");
        }
        prop_assert_eq!(run.ended.len(), outcomes);
        prop_assert_eq!((run.queue.pending(), run.queue.in_flight(), run.queue.oldest()), (0, 0, None));
        prop_assert!(gives_up || run.ended.values().all(|next| *next == Next::Settled), "a day is long enough");
        // The last outcome is tracked after 3000 s. Then: what is left of the pauses of a probe and of an outcome that grew for an
        // hour, and a few attempts of each.
        let end = Duration::from_secs(up_again.max(3000)) + Duration::from_mins(30);
        prop_assert!(run.now - run.start <= end, "{:?} > {end:?}", run.now - run.start);
    }

    #[test]
    fn within_a_namespace_the_oldest_is_first(ages in prop::collection::vec((0_usize..3, 0_i64..50), 1..100)) {
        let mut sink = Sink::new();
        for (number, (namespace, age)) in ages.iter().enumerate() {
            sink.track(&format!("n{namespace}/{number:03}"), -age);
        }
        let mut order = Vec::new();
        while sink.queue.pending() > 0 {
            let started = sink.start();
            prop_assert!(!started.is_empty(), "all are due");
            for outcome in &started {
                prop_assert_eq!(sink.finish(outcome, Attempted::Done), Next::Settled);
            }
            order.extend(started);
        }
        prop_assert_eq!(order.len(), ages.len());
        for namespace in ["n0", "n1", "n2"] {
            let of_namespace = order.iter().filter(|outcome| outcome.starts_with(namespace));
            let age = |outcome: &String| ages[outcome[3..].parse::<usize>().expect("a number")].1;
            prop_assert!(of_namespace.map(|outcome| (-age(outcome), outcome)).is_sorted());
        }
    }
}
