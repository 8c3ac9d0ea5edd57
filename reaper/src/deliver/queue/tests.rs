use rstest::rstest;

use super::*;

mod laws;
mod model;

const HOUR: Duration = Duration::from_hours(1);

const SINK_FAULT: Attempted = Attempted::Failed { fault: Fault::Sink, retry_after: None };
const MESSAGE_FAULT: Attempted = Attempted::Failed { fault: Fault::Message, retry_after: None };
const REFUSAL: Attempted = Attempted::Failed { fault: Fault::Refusal, retry_after: None };

/// A queue with both clocks. Outcomes expire after an hour.
struct Sink {
    queue: Queue,
    now: Instant,
    wall: Timestamp,
}

fn name(name: &str) -> OutcomeName {
    OutcomeName::from_object(name)
}

/// `second` of the wall clock, on which each sink starts at 0.
fn wall(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

impl Sink {
    fn new() -> Self {
        let (now, wall) = (Instant::now(), wall(0));
        Self { queue: Queue::new(CONCURRENCY, HOUR, now, wall), now, wall }
    }

    /// Tracks an outcome, written as `namespace/name`, that was created at `second`.
    fn track(&mut self, outcome: &str, second: i64) {
        self.track_attempted(outcome, second, 0);
    }

    fn track_attempted(&mut self, outcome: &str, second: i64, attempts: u32) {
        let (namespace, _) = outcome.split_once('/').expect("a namespace");
        self.queue.track(name(outcome), namespace, wall(second), attempts, self.now, self.wall);
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.wall += by;
    }

    fn start(&mut self) -> Vec<String> {
        self.queue.start(self.now).iter().map(ToString::to_string).collect()
    }

    fn finish(&mut self, outcome: &str, result: Attempted) -> Next {
        self.queue.finished(&name(outcome), result, self.now, self.wall, 1.0)
    }

    fn expired(&mut self) -> Vec<String> {
        self.queue.expired(self.now, self.wall, usize::MAX).iter().map(ToString::to_string).collect()
    }

    fn wakes_after(&self) -> Option<Duration> {
        self.queue.wake_at().map(|at| at - self.now)
    }

    fn counts(&self) -> (usize, usize) {
        (self.queue.pending(), self.queue.in_flight())
    }

    /// Tracks outcomes of one namespace, `down/0` the oldest, and lets the first five attempts fail, which opens the breaker. Five wait
    /// for their second attempt then, two seconds later, and the others are due.
    fn goes_down(&mut self, outcomes: usize) {
        (0..).zip(0..outcomes).for_each(|(second, number)| self.track(&format!("down/{number}"), second));
        let started = self.start();
        for outcome in started.iter().take(5) {
            self.finish(outcome, SINK_FAULT);
        }
        for outcome in started.iter().skip(5) {
            self.finish(outcome, Attempted::Unsent);
        }
        assert!(self.is_open());
    }

    fn is_open(&self) -> bool {
        self.queue.breaker() != BreakerState::Closed
    }
}

#[test]
fn the_oldest_of_a_namespace_is_first() {
    let mut sink = Sink::new();
    for (outcome, second) in [("a/2", 5), ("a/3", 1), ("a/1", 5)] {
        sink.track(outcome, second);
    }
    assert_eq!(sink.start(), ["a/3", "a/1", "a/2"]);
    assert_eq!(sink.start(), [""; 0]);
}

#[test]
fn a_thousand_of_one_namespace_do_not_delay_the_first_of_another() {
    let mut sink = Sink::new();
    (0..1000).for_each(|number| sink.track(&format!("flood/{number}"), -1000));
    assert_eq!(sink.start().len(), 6, "its share");
    sink.track("one/a", 0);
    sink.track("two/a", 1);
    assert_eq!(sink.start(), ["one/a", "two/a"]);
    sink.track("three/a", 2);
    assert_eq!(sink.start(), [""; 0], "all slots are in use");
    sink.finish("flood/0", Attempted::Done);
    assert_eq!(sink.start(), ["three/a"]);
}

#[rstest]
#[case(0, 1)]
#[case(1, 1)]
#[case(2, 1)]
#[case(3, 2)]
#[case(4, 3)]
#[case(CONCURRENCY, 6)]
fn a_namespace_leaves_a_quarter_of_the_slots_to_others(#[case] concurrency: usize, #[case] most: usize) {
    assert_eq!(share(concurrency), most);
}

#[test]
fn tracking_again_changes_nothing() {
    let mut sink = Sink::new();
    sink.track("a/1", 5);
    sink.track("b/2", 6);
    sink.track_attempted("a/1", 9, 3);
    assert_eq!(sink.queue.oldest(), Some(wall(5)));
    assert_eq!(sink.start(), ["a/1", "b/2"]);
    sink.track("a/1", 5);
    assert_eq!((sink.start().len(), sink.counts()), (0, (2, 2)));
    sink.finish("a/1", MESSAGE_FAULT);
    sink.track("a/1", 5);
    assert_eq!((sink.start().len(), sink.counts()), (0, (2, 1)), "it waits for its next attempt");
}

#[rstest]
#[case::acknowledged(Attempted::Done, 0, Next::Settled)]
#[case::without_a_message(Attempted::Unsent, 0, Next::Settled)]
#[case::refused(REFUSAL, 0, Next::Settled)]
#[case::refused_however_old(REFUSAL, 3600, Next::Settled)]
#[case::a_fault_of_the_sink(SINK_FAULT, 3600, Next::Dead)]
#[case::a_fault_of_the_message(MESSAGE_FAULT, 3600, Next::Dead)]
fn the_delivery_ends(#[case] result: Attempted, #[case] age: i64, #[case] next: Next) {
    let mut sink = Sink::new();
    sink.track("a/1", -age);
    sink.start();
    assert_eq!(sink.finish("a/1", result), next);
    assert_eq!((sink.counts(), sink.queue.oldest(), sink.wakes_after()), ((0, 0), None, None));
    assert_eq!(sink.finish("a/1", result), Next::Settled, "it is not in flight");
}

#[rstest]
#[case::the_sink(Fault::Sink, 0, None, 2)]
#[case::the_message(Fault::Message, 0, None, 2)]
#[case::recorded_attempts_count(Fault::Message, 2, None, 8)]
#[case::the_receiver_asks_for_a_pause(Fault::Message, 0, Some(77), 77)]
fn a_fault_is_retried_after_a_pause(
    #[case] fault: Fault,
    #[case] attempts: u32,
    #[case] retry_after: Option<u64>,
    #[case] seconds: u64,
) {
    let mut sink = Sink::new();
    sink.track_attempted("a/1", -10, attempts);
    sink.start();
    let result = Attempted::Failed { fault, retry_after: retry_after.map(Duration::from_secs) };
    let pause = Duration::from_secs(seconds);
    assert_eq!(sink.finish("a/1", result), Next::Retry(sink.now + pause));
    assert_eq!((sink.start().len(), sink.wakes_after()), (0, Some(pause)));
    sink.advance(pause);
    assert_eq!(sink.start(), ["a/1"]);
}

#[test]
fn a_forgotten_delivery_leaves_nothing_behind() {
    let mut sink = Sink::new();
    for outcome in ["a/waiting", "a/flying", "a/due"] {
        sink.track(outcome, 0);
        if outcome != "a/due" {
            sink.start();
        }
    }
    sink.finish("a/waiting", MESSAGE_FAULT);
    for outcome in ["a/waiting", "a/due", "a/flying", "a/unknown"] {
        sink.queue.forget(&name(outcome));
    }
    assert_eq!((sink.counts(), sink.queue.oldest()), ((0, 1), None));
    assert_eq!(sink.finish("a/flying", MESSAGE_FAULT), Next::Settled);
    assert_eq!((sink.counts(), sink.wakes_after()), ((0, 0), None));
    sink.advance(HOUR * 2);
    assert_eq!((sink.start().len(), sink.expired().len()), (0, 0));
}

#[test]
fn the_attempt_of_a_forgotten_delivery_occupies_its_slot() {
    let mut sink = Sink::new();
    (0..7).for_each(|number| sink.track(&format!("a/{number}"), 0));
    assert_eq!(sink.start().len(), 6);
    sink.queue.forget(&name("a/0"));
    assert_eq!(sink.start(), [""; 0]);
    sink.finish("a/0", Attempted::Done);
    assert_eq!(sink.start(), ["a/6"]);
}

#[test]
fn a_delivery_that_is_tracked_again_during_its_attempt_is_not_attempted_twice_at_a_time() {
    let mut sink = Sink::new();
    sink.track("a/1", 0);
    sink.start();
    sink.queue.forget(&name("a/1"));
    sink.track("a/1", 0);
    assert_eq!((sink.start().len(), sink.counts()), (0, (1, 1)));
    let next = sink.finish("a/1", MESSAGE_FAULT);
    assert_eq!((next, sink.counts()), (Next::Retry(sink.now + Duration::from_secs(2)), (1, 0)));
}

#[test]
fn an_outcome_expires_once_it_was_attempted_and_is_too_old() {
    let mut sink = Sink::new();
    sink.track_attempted("a/attempted", -3599, 1);
    sink.track_attempted("a/younger", -3598, 1);
    sink.track("a/untried", -9999);
    assert_eq!((sink.expired(), sink.wakes_after()), (Vec::new(), Some(Duration::ZERO)), "there is something to start");
    sink.advance(Duration::from_secs(1));
    assert_eq!(sink.expired(), ["a/attempted"]);
    assert_eq!(sink.start(), ["a/untried", "a/younger"]);
    assert_eq!(sink.finish("a/untried", MESSAGE_FAULT), Next::Dead);
    assert_eq!(sink.finish("a/younger", MESSAGE_FAULT), Next::Retry(sink.now + Duration::from_secs(4)));
    assert_eq!(sink.wakes_after(), Some(Duration::from_secs(1)), "it expires before its next attempt");
    sink.advance(Duration::from_secs(1));
    assert_eq!((sink.expired(), sink.counts()), (vec!["a/younger".to_owned()], (0, 0)));
}

#[test]
fn what_is_in_flight_does_not_expire() {
    let mut sink = Sink::new();
    sink.track_attempted("a/1", -3599, 1);
    sink.start();
    sink.advance(HOUR);
    assert_eq!((sink.expired().len(), sink.wakes_after(), sink.queue.oldest()), (0, None, Some(wall(-3599))));
}

#[test]
fn outcomes_expire_a_few_at_a_time_the_oldest_first() {
    let mut sink = Sink::new();
    (0..5).for_each(|number| sink.track_attempted(&format!("a/{number}"), -4000 - i64::from(number), 1));
    assert_eq!(sink.queue.expired(sink.now, sink.wall, 2), [name("a/4"), name("a/3")]);
    assert_eq!(sink.wakes_after(), Some(Duration::ZERO));
    assert_eq!(sink.expired(), ["a/2", "a/1", "a/0"]);
}

#[test]
fn the_probes_of_a_sink_count_as_attempts_of_all() {
    let mut sink = Sink::new();
    sink.goes_down(8);
    sink.track("old/untried", -2998);
    sink.advance(Duration::from_secs(601));
    assert_eq!(sink.expired(), [""; 0]);
    sink.advance(Duration::from_secs(1));
    assert_eq!(sink.expired(), ["old/untried"]);
}

#[test]
fn a_backlog_that_was_too_old_when_the_sink_went_down_is_not_lost_at_once() {
    let mut sink = Sink::new();
    sink.goes_down(6);
    sink.track("backlog/older", -3601);
    sink.track("backlog/just-as-old", -3600);
    assert_eq!(sink.expired(), ["backlog/just-as-old"], "the breaker is open since then");
    sink.advance(Duration::from_secs(3599));
    assert!(!sink.expired().contains(&"backlog/older".to_owned()));
    sink.advance(Duration::from_secs(1));
    assert!(sink.expired().contains(&"backlog/older".to_owned()));
}

#[test]
fn while_the_breaker_is_open_only_the_oldest_due_is_probed() {
    let mut sink = Sink::new();
    sink.goes_down(10);
    sink.track("other/1", 100);
    assert_eq!((sink.start().len(), sink.wakes_after()), (0, Some(Duration::from_secs(1))));
    sink.advance(Duration::from_secs(1));
    assert_eq!(sink.start(), ["down/6"], "the first six have ended or wait for their next attempt");
    sink.advance(Duration::from_secs(9));
    assert_eq!((sink.start().len(), sink.queue.next_start()), (0, None));
    assert_eq!(sink.wakes_after(), Some(Duration::from_secs(3590)), "the oldest expires then");
    sink.finish("down/6", SINK_FAULT);
    assert_eq!((sink.start().len(), sink.wakes_after()), (0, Some(Duration::from_secs(2))));
    sink.advance(Duration::from_secs(2));
    assert_eq!(sink.start(), ["down/0"]);
}

/// Its own pause is longer than that of the probe at first, and shorter later.
#[test]
fn the_wake_for_a_lone_outcome_of_a_sink_that_is_down_is_not_in_vain() {
    let mut sink = Sink::new();
    sink.track("a/1", 0);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        assert_eq!(sink.start(), ["a/1"]);
        sink.finish("a/1", SINK_FAULT);
        let pause = sink.wakes_after().expect("it is retried");
        pauses.push(pause.as_secs());
        sink.advance(pause);
    }
    assert_eq!(pauses, [2, 4, 8, 10, 10, 10, 10, 10, 16, 32, 60, 60]);
}

#[test]
fn a_probe_waits_for_the_attempts_from_before() {
    let mut sink = Sink::new();
    (0..6).for_each(|number| sink.track(&format!("a/{number}"), 0));
    sink.track("b/1", 0);
    sink.start();
    (0..5).for_each(|number| assert_ne!(sink.finish(&format!("a/{number}"), SINK_FAULT), Next::Dead));
    sink.finish("a/5", SINK_FAULT);
    assert!(sink.is_open());
    sink.advance(Duration::from_secs(5));
    assert_eq!(sink.start(), [""; 0]);
    sink.finish("b/1", SINK_FAULT);
    assert_eq!(sink.start(), ["a/0"]);
}

#[test]
fn a_sink_that_answers_is_drained_with_growing_concurrency() {
    let mut sink = Sink::new();
    sink.goes_down(40);
    sink.advance(Duration::from_secs(10));
    let mut started = sink.start();
    assert_eq!(started.len(), 1);
    let mut waves = Vec::new();
    for _ in 0..5 {
        for outcome in &started {
            assert_eq!(sink.finish(outcome, MESSAGE_FAULT), retry(sink.now, outcome));
        }
        started = sink.start();
        waves.push(started.len());
    }
    assert_eq!(waves, [1, 2, 6, 6, 6]);
    assert!(!sink.is_open());
}

/// When an outcome of [`Sink::goes_down`] is retried: those that failed before have failed twice.
fn retry(now: Instant, outcome: &str) -> Next {
    let failed_before = ["down/0", "down/1", "down/2", "down/3", "down/4"].contains(&outcome);
    Next::Retry(now + Duration::from_secs(if failed_before { 4 } else { 2 }))
}

#[rstest]
#[case::a_fault_of_the_message(MESSAGE_FAULT)]
#[case::a_refusal(REFUSAL)]
#[case::an_acknowledgement(Attempted::Done)]
fn an_answer_to_the_probe_closes_the_breaker(#[case] answer: Attempted) {
    let mut sink = Sink::new();
    sink.goes_down(10);
    sink.advance(Duration::from_secs(1));
    sink.start();
    sink.finish("down/6", answer);
    assert!(!sink.is_open());
}

#[test]
fn a_probe_without_a_message_is_followed_by_the_next_at_once() {
    let mut sink = Sink::new();
    sink.goes_down(10);
    sink.advance(Duration::from_secs(1));
    assert_eq!(sink.start(), ["down/6"]);
    sink.finish("down/6", Attempted::Unsent);
    assert_eq!((sink.is_open(), sink.start()), (true, vec!["down/7".to_owned()]));
}

#[test]
fn faults_of_messages_do_not_open_the_breaker() {
    let mut sink = Sink::new();
    (0..100).for_each(|number| sink.track(&format!("a/{number}"), 0));
    for _ in 0..10 {
        for outcome in sink.start() {
            assert_ne!(sink.finish(&outcome, MESSAGE_FAULT), Next::Settled);
        }
    }
    assert!(!sink.is_open());
}
