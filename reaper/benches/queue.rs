//! The queue of a sink with 10,000 and 100,000 pending deliveries of 100 namespaces: what one attempt costs must hardly depend on their
//! number.

use std::{collections::VecDeque, hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::{SignedDuration, Timestamp};
use jobwarden_core::outcome::OutcomeName;
use jobwarden_reaper::deliver::{
    Fault,
    queue::{Attempted, CONCURRENCY, Queue},
};
use mimalloc::MiMalloc;
use tokio::time::Instant;

/// The reaper's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Longer than the benchmark takes by the clock that is passed in.
const GIVE_UP_AFTER: Duration = Duration::from_hours(1_000_000);
const FAILED: Attempted = Attempted::Failed { fault: Fault::Message, retry_after: None };

/// A queue with its clocks. Its deliveries never end, so that their number stays.
struct Sink {
    queue: Queue,
    now: Instant,
    wall: Timestamp,
}

impl Sink {
    fn with(deliveries: u32) -> Self {
        let (now, wall) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let mut queue = Queue::new(CONCURRENCY, GIVE_UP_AFTER, now, wall);
        for number in 0..deliveries {
            let name = OutcomeName::from_object(&format!("6f1d9a3e-0b7c-4c55-9f3e-{number:012}.final"));
            // In no order: an odd factor gives each a time of its own.
            let created_at = wall + SignedDuration::from_micros(i64::from(number.wrapping_mul(2_654_435_761)));
            queue.track(name, format!("tenant-{}", number % 100), created_at, 0, now, wall);
        }
        Self { queue, now, wall }
    }

    /// One attempt: one that is in flight ends, and the next one starts as soon as it is due.
    fn attempt(&mut self, flights: &mut VecDeque<OutcomeName>) {
        if let Some(name) = flights.pop_front() {
            black_box(self.queue.finished(&name, FAILED, self.now, self.wall, 0.5));
        }
        black_box(self.queue.expired(self.now, self.wall, 100));
        if let Some(at) = self.queue.wake_at() {
            let passed = at - self.now;
            self.now += passed;
            self.wall += passed;
        }
        flights.extend(self.queue.start(self.now));
    }
}

fn attempts(criterion: &mut Criterion) {
    for deliveries in [10_000, 100_000] {
        let mut sink = Sink::with(deliveries);
        let mut flights = VecDeque::new();
        criterion.bench_function(&format!("queue_attempt_{deliveries}"), |bencher| {
            bencher.iter(|| sink.attempt(&mut flights));
        });
        let name = OutcomeName::from_object("another");
        criterion.bench_function(&format!("queue_track_and_forget_{deliveries}"), |bencher| {
            bencher.iter(|| {
                sink.queue.track(name.clone(), "tenant-1", sink.wall, 0, sink.now, sink.wall);
                sink.queue.forget(&name);
            });
        });
    }
}

criterion_group!(benches, attempts);
criterion_main!(benches);
