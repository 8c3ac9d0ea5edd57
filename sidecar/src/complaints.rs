//! What is worth a line in the log, and when: a decision without a clock.

use std::time::{Duration, Instant};

/// At least this long between two complaints, for an outage of the reaper must not fill the logs of every worker.
const QUIET: Duration = Duration::from_mins(1);

/// Failed attempts, most of which nobody hears of.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    last: Option<Instant>,
    /// Failures since the last line.
    unsaid: u64,
}

impl Complaints {
    /// Takes note of a failure at `now`. A number means that a line is due: failures since the last line, this one
    /// included.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u64> {
        self.unsaid += 1;
        if self.last.is_some_and(|last| now.duration_since(last) < QUIET) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_one_line_and_the_next_tells_of_those_between() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut complaints = Complaints::default();
        assert_eq!(complaints.due(at(0)), Some(1));
        assert_eq!(complaints.due(at(1)), None);
        assert_eq!(complaints.due(at(59)), None);
        assert_eq!(complaints.due(at(60)), Some(3));
        assert_eq!(complaints.due(at(61)), None);
    }
}
