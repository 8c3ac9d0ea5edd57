//! Decides which failures are logged. It reads no clock.

use std::time::{Duration, Instant};

/// The minimum time between two log lines: an outage of the reaper must not fill the logs of every worker.
const INTERVAL: Duration = Duration::from_mins(1);

/// Counts failures and lets one log line a minute through.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    last_line: Option<Instant>,
    /// Failures since the last line.
    suppressed: u64,
}

impl LogThrottle {
    /// Records a failure at `now`. Returns a count if a line is due: the failures since the last line, including this one.
    pub(crate) fn record(&mut self, now: Instant) -> Option<u64> {
        self.suppressed += 1;
        if self.last_line.is_some_and(|last| now.duration_since(last) < INTERVAL) {
            return None;
        }
        self.last_line = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_line_a_minute_is_due_and_it_counts_the_suppressed_failures() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut throttle = LogThrottle::default();
        assert_eq!(throttle.record(at(0)), Some(1));
        assert_eq!(throttle.record(at(1)), None);
        assert_eq!(throttle.record(at(59)), None);
        assert_eq!(throttle.record(at(60)), Some(3));
        assert_eq!(throttle.record(at(61)), None);
    }
}
