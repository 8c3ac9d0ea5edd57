use proptest::prelude::*;
use rstest::rstest;

use super::*;

const CONCURRENCY: usize = 8;

fn wall(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A breaker that opened at `start`, at second 7 of the wall clock, with its first probe a second later.
fn open(start: Instant) -> Breaker {
    let mut breaker = Breaker::new(CONCURRENCY);
    (0..FAULTS).for_each(|_| breaker.failed(None, start, wall(7), 1.0));
    breaker
}

fn next_probe(breaker: &Breaker) -> Option<Instant> {
    match breaker.state() {
        BreakerState::Closed => None,
        BreakerState::Open { next_probe, .. } => Some(next_probe),
    }
}

#[test]
fn five_faults_in_a_row_open_it() {
    let start = Instant::now();
    let mut breaker = Breaker::new(CONCURRENCY);
    for _ in 1..FAULTS {
        breaker.failed(None, start, wall(7), 1.0);
        assert_eq!((breaker.state(), breaker.open_since()), (BreakerState::Closed, None));
        assert_eq!(breaker.admits_from(CONCURRENCY - 1, start), Some(start));
    }
    breaker.failed(None, start, wall(7), 1.0);
    assert_eq!(breaker.state(), BreakerState::Open { since: wall(7), next_probe: start + secs(1) });
    assert_eq!(breaker.open_since(), Some(wall(7)));
}

#[test]
fn an_answer_ends_the_run_of_faults() {
    let start = Instant::now();
    let mut breaker = Breaker::new(CONCURRENCY);
    for _ in 0..10 {
        (1..FAULTS).for_each(|_| breaker.failed(None, start, wall(0), 1.0));
        breaker.answered();
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn the_pause_between_probes_doubles_up_to_a_minute() {
    let mut now = Instant::now();
    let mut breaker = open(now);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let at = next_probe(&breaker).expect("open");
        pauses.push((at - now).as_secs());
        now = at;
        breaker.started();
        breaker.failed(None, now, wall(100), 1.0);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(breaker.open_since(), Some(wall(7)));
}

#[rstest]
#[case::the_receiver_may_ask_for_more(Some(secs(100)), secs(100))]
#[case::not_for_less(Some(secs(0)), secs(2))]
#[case::and_for_a_quarter_of_an_hour_at_most(Some(Duration::MAX), secs(900))]
fn retry_after_delays_the_next_probe(#[case] retry_after: Option<Duration>, #[case] pause: Duration) {
    let start = Instant::now();
    let mut breaker = open(start);
    breaker.started();
    breaker.failed(retry_after, start, wall(0), 1.0);
    assert_eq!(next_probe(&breaker), Some(start + pause));
}

#[test]
fn the_fault_that_opens_it_may_delay_the_first_probe() {
    let start = Instant::now();
    let mut breaker = Breaker::new(CONCURRENCY);
    (0..FAULTS).for_each(|_| breaker.failed(Some(secs(30)), start, wall(0), 0.5));
    assert_eq!(next_probe(&breaker), Some(start + secs(30)));
}

/// Eight attempts to a sink that is down fail together. Only the probe says whether it still is.
#[test]
fn attempts_from_before_it_opened_do_not_lengthen_the_pause() {
    let start = Instant::now();
    let mut breaker = open(start);
    (0..3).for_each(|_| breaker.failed(None, start + secs(10), wall(0), 1.0));
    assert_eq!(next_probe(&breaker), Some(start + secs(1)));
    breaker.failed(Some(secs(40)), start, wall(0), 1.0);
    breaker.failed(Some(secs(20)), start, wall(0), 1.0);
    assert_eq!(next_probe(&breaker), Some(start + secs(40)));
    breaker.started();
    breaker.failed(None, start + secs(40), wall(0), 1.0);
    assert_eq!(next_probe(&breaker), Some(start + secs(42)));
}

#[test]
fn a_probe_starts_alone_and_after_the_pause() {
    let start = Instant::now();
    let breaker = open(start);
    assert_eq!(breaker.admits_from(1, start + secs(5)), None);
    assert_eq!(breaker.admits_from(0, start), Some(start + secs(1)));
    assert_eq!(breaker.admits_from(0, start + secs(5)), Some(start + secs(5)));
}

#[test]
fn a_probe_without_a_message_says_nothing() {
    let start = Instant::now();
    let mut breaker = open(start);
    let before = breaker.state();
    breaker.started();
    breaker.unsent();
    assert_eq!(breaker.state(), before);
    breaker.failed(None, start, wall(0), 1.0);
    assert_eq!(breaker.state(), before, "it is not taken for the probe");
}

#[test]
fn after_an_answer_concurrency_doubles_from_one() {
    let now = Instant::now();
    let mut breaker = open(now);
    breaker.started();
    let mut limits = Vec::new();
    for _ in 0..6 {
        breaker.answered();
        limits.push((0..100).filter(|in_flight| breaker.admits_from(*in_flight, now).is_some()).count());
    }
    assert_eq!(limits, [1, 2, 4, 8, 8, 8]);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn a_concurrency_of_zero_admits_one() {
    let now = Instant::now();
    let breaker = Breaker::new(0);
    assert_eq!((breaker.admits_from(0, now), breaker.admits_from(1, now)), (Some(now), None));
}

proptest! {
    #[test]
    fn the_next_probe_is_half_of_the_pause_away_at_least(jitter in 0.0..1.0, failed in 0_u32..12) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(CONCURRENCY);
        (0..FAULTS).for_each(|_| breaker.failed(None, now, wall(0), jitter));
        for probe in 0..=failed {
            let pause = next_probe(&breaker).expect("open") - now;
            let full = secs(2_u64.pow(probe).min(60));
            prop_assert!(pause >= full / 2 && pause <= full);
            now += pause;
            breaker.started();
            breaker.failed(None, now, wall(0), jitter);
        }
    }
}
