//! When a draining server closes its listener, and when the drain ends.

use std::time::Duration;

use tokio::time::Instant;

use crate::shutdown::ShutdownArgs;

/// Longer flags count as a day, so that no time overflows.
const MAX_DURATION: Duration = Duration::from_hours(24);

/// The times of one drain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    quiet: Duration,
    last_arrival: Instant,
    accept_until: Instant,
    deadline: Instant,
}

impl Drain {
    /// A drain that starts at `now`.
    pub(super) fn start(args: ShutdownArgs, now: Instant) -> Self {
        let quiet = args.drain_delay.min(MAX_DURATION);
        let timeout = args.drain_timeout.min(MAX_DURATION);
        Self {
            quiet,
            last_arrival: now,
            // The other half is left to the requests of the last connections.
            accept_until: now + quiet + timeout / 2,
            deadline: now + quiet + timeout,
        }
    }

    /// A connection arrived at `now`, so some client or proxy does not know yet that this server terminates.
    pub(super) fn connection_arrived(&mut self, now: Instant) {
        self.last_arrival = now;
    }

    /// When the listener closes, unless another connection arrives before.
    pub(super) fn closes_at(&self) -> Instant {
        (self.last_arrival + self.quiet).min(self.accept_until)
    }

    /// When requests in flight are aborted.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// The defaults of the flags.
    const ARGS: ShutdownArgs =
        ShutdownArgs { drain_delay: Duration::from_secs(5), drain_timeout: Duration::from_secs(20) };

    #[rstest]
    #[case::no_connection(&[], 5)]
    #[case::one_connection(&[3], 8)]
    #[case::several_connections(&[1, 4, 8], 13)]
    #[case::connections_without_end(&[1, 4, 8, 12, 14], 15)]
    fn the_listener_closes_after_a_quiet_period_or_at_the_bound(#[case] arrivals: &[u64], #[case] closes_after: u64) {
        let start = Instant::now();
        let mut drain = Drain::start(ARGS, start);
        for arrival in arrivals {
            drain.connection_arrived(start + Duration::from_secs(*arrival));
        }
        assert_eq!(drain.closes_at() - start, Duration::from_secs(closes_after));
        assert_eq!(drain.deadline() - start, Duration::from_secs(25), "within the 30 s of the chart's grace period");
    }

    #[test]
    fn enormous_flags_do_not_overflow() {
        let args = ShutdownArgs { drain_delay: Duration::MAX, drain_timeout: Duration::MAX };
        let start = Instant::now();
        assert!(Drain::start(args, start).closes_at() > start);
    }
}
