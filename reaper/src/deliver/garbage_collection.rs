//! Deletes settled outcomes: after their retention, and earlier where there are more of them than are kept.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use jobwarden_common::identity::JobUid;
use jobwarden_core::outcome::OutcomeName;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    clock,
    outbox::{Entry, JobOutcome, Outbox},
};

/// How often to look for outcomes to delete: at 200 Jobs a second, a burst that a large cluster has, there are 2,000 more of them.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How many outcomes are deleted at a time.
const AT_ONCE: usize = 8;

/// How many settled outcomes are kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long those are kept that every sink has acknowledged or refused.
    pub age: Duration,
    /// The most that are kept. Those that a sink has given up are counted apart.
    pub count: usize,
    /// The most bytes of them that are kept, as JSON. Those that a sink has given up are counted apart.
    pub bytes: usize,
}

/// A settled outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settled {
    created_at: Timestamp,
    name: OutcomeName,
    version: u64,
    bytes: usize,
    is_dead: bool,
}

/// Deletes what `retention` does not keep, except outcomes whose Jobs exist: such an outcome prevents that the same is recorded again.
/// Runs until the future is dropped.
pub async fn collect_garbage(
    outcomes: Api<JobOutcome>,
    outbox: Outbox,
    retention: Retention,
    job_exists: impl Fn(&JobUid) -> bool,
) {
    let mut ticks = interval(CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !outbox.synced() {
            continue;
        }
        let settled = outbox.select(|name, entry| {
            (entry.settled() && !job_exists(&entry.job)).then(|| Settled::of(name.clone(), entry))
        });
        let deletions = stream::iter(surplus(settled, retention, clock::now()));
        deletions.for_each_concurrent(AT_ONCE, |outcome| delete(&outcomes, outcome)).await;
    }
}

impl Settled {
    fn of(name: OutcomeName, entry: &Entry) -> Self {
        let Entry { version, created_at, bytes, .. } = entry;
        Self { created_at: *created_at, name, version: *version, bytes: *bytes, is_dead: entry.is_dead() }
    }
}

/// What is not kept of the `settled`: of the newest as many as fit within the bounds stay.
fn surplus(mut settled: Vec<Settled>, retention: Retention, now: Timestamp) -> Vec<Settled> {
    let Retention { age, count, bytes } = retention;
    settled.sort_by(|one, other| (other.created_at, &other.name).cmp(&(one.created_at, &one.name)));
    let (mut delivered, mut dead) = ((0, 0), (0, 0));
    settled.retain(|outcome| {
        let kept = if outcome.is_dead { &mut dead } else { &mut delivered };
        kept.0 += 1;
        kept.1 += outcome.bytes;
        let outcome_age = Duration::try_from(now.duration_since(outcome.created_at)).unwrap_or_default();
        let is_old = !outcome.is_dead && outcome_age >= age;
        is_old || kept.0 > count || kept.1 > bytes
    });
    settled
}

async fn delete(outcomes: &Api<JobOutcome>, outcome: Settled) {
    let Settled { name, version, is_dead, .. } = outcome;
    // One that is to be delivered again, or is another of the same name, has another version.
    let preconditions = Preconditions { resource_version: Some(version.to_string()), ..Preconditions::default() };
    match outcomes.delete(name.as_str(), &DeleteParams::default().preconditions(preconditions)).await {
        Ok(_) if is_dead => {
            tracing::warn!(outcome = %name, "deleted a JobOutcome that a sink never received: there are too many of them");
        }
        Ok(_) => tracing::debug!(outcome = %name, "deleted a JobOutcome after its retention"),
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {
            tracing::debug!(outcome = %name, "a JobOutcome has changed since it was settled; it is looked at again");
        }
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(outcome = %name, error, "cannot delete a JobOutcome after its retention; retrying");
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const RETENTION: Retention = Retention { age: Duration::from_mins(1), count: 3, bytes: 100 };

    /// An outcome created `age` seconds ago.
    fn mk_settled(age: i64, bytes: usize, is_dead: bool) -> Settled {
        let name = OutcomeName::from_object(&format!("{age}{}", if is_dead { "-dead" } else { "" }));
        Settled { created_at: at(-age), name, version: 1, bytes, is_dead }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    #[rstest]
    #[case::all_fit(&[(1, 10), (2, 10)], &[])]
    #[case::too_old(&[(59, 10), (60, 10)], &["60"])]
    #[case::the_oldest_beyond_the_count(&[(4, 1), (1, 1), (2, 1), (3, 1)], &["4"])]
    #[case::the_oldest_beyond_the_size(&[(1, 60), (2, 40), (3, 1)], &["3"])]
    #[case::one_that_is_too_large_alone(&[(1, 101)], &["1"])]
    fn the_newest_delivered_outcomes_are_kept(#[case] outcomes: &[(i64, usize)], #[case] deleted: &[&str]) {
        let settled = outcomes.iter().map(|(age, bytes)| mk_settled(*age, *bytes, false)).collect();
        let names: Vec<_> = surplus(settled, RETENTION, at(0)).into_iter().map(|it| it.name.to_string()).collect();
        assert_eq!(names, deleted);
    }

    #[test]
    fn given_up_outcomes_are_counted_apart_and_kept_however_old() {
        let dead = (1..=4).map(|n| mk_settled(n * 1000, 10, true));
        let settled: Vec<_> = dead.chain((1..=3).map(|n| mk_settled(n, 10, false))).collect();
        let names: Vec<_> = surplus(settled, RETENTION, at(0)).into_iter().map(|it| it.name.to_string()).collect();
        assert_eq!(names, ["4000-dead"], "the oldest beyond the count, and no delivered one");
    }
}
