//! How long what is left of a Job is kept, by how the Job ended.

use std::time::Duration;

use super::Policy;

/// What is left of a Job that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// A Job that completed.
    Succeeded,
    /// A Job that failed by itself.
    Failed,
    /// A Job that failed because a pod of it was lost.
    Lost,
    /// An ended pod whose Job was deleted without it.
    Orphaned,
}

impl Policy {
    /// How long it is kept. A lost Job has failed, so without a retention of its own that of failed Jobs applies.
    pub fn retention_of(&self, leftover: Leftover) -> Duration {
        let own = match leftover {
            Leftover::Succeeded => self.retention_succeeded,
            Leftover::Failed => self.retention_failed,
            Leftover::Lost => self.retention_lost.or(self.retention_failed),
            Leftover::Orphaned => self.retention_orphaned,
        };
        own.unwrap_or(self.retention)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn hours(hours: u64) -> Duration {
        Duration::from_hours(hours)
    }

    #[rstest]
    #[case::unset(Policy::default(), [1, 1, 1, 1])]
    #[case::all(Policy { retention: hours(5), ..Policy::default() }, [5, 5, 5, 5])]
    #[case::lost_is_failed(Policy { retention_failed: Some(hours(7)), ..Policy::default() }, [1, 7, 7, 1])]
    #[case::each(
        Policy {
            retention_succeeded: Some(hours(2)),
            retention_failed: Some(hours(3)),
            retention_lost: Some(hours(4)),
            retention_orphaned: Some(hours(6)),
            ..Policy::default()
        },
        [2, 3, 4, 6]
    )]
    fn the_most_specific_retention_applies(#[case] policy: Policy, #[case] expected: [u64; 4]) {
        let kept = [Leftover::Succeeded, Leftover::Failed, Leftover::Lost, Leftover::Orphaned];
        assert_eq!(kept.map(|leftover| policy.retention_of(leftover)), expected.map(hours));
    }
}
