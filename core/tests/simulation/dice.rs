//! Random numbers that are the same on every run. Everything random has a stream of its own, so that removing a fault from a
//! history changes nothing else in it.

use std::time::Duration;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Dice(fastrand::Rng);

impl Dice {
    /// The stream of `what` under `seed`.
    pub(crate) fn of(seed: u64, what: [u64; 3]) -> Self {
        let mixed =
            what.into_iter().fold(seed, |sum, part| fastrand::Rng::with_seed(sum ^ part.rotate_left(17)).u64(..));
        Self(fastrand::Rng::with_seed(mixed))
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    /// True in this many percent of calls.
    pub(crate) fn percent(&mut self, chance: u8) -> bool {
        self.0.u8(..100) < chance
    }

    /// A duration from `low` to `high`, in milliseconds.
    pub(crate) fn ms(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.0.u64(low..=high))
    }

    /// A duration from `low` to `high`, in seconds.
    pub(crate) fn seconds(&mut self, low: u64, high: u64) -> Duration {
        self.ms(low * 1000, high * 1000)
    }

    /// A number from 0 to 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.0.f64()
    }

    /// One of several.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
