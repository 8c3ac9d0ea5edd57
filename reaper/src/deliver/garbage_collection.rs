//! Deletes outcomes after their retention.

use std::time::Duration;

use jiff::Timestamp;
use jobwarden_common::identity::JobUid;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use tokio::time::interval;

use crate::{
    clock,
    outbox::{Entry, JobOutcome, Outbox},
};

/// How often to look for outcomes to delete.
const CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// Deletes settled outcomes without expired deliveries that are older than `retention` and whose Jobs are gone. Runs until the
/// future is dropped. While its Job exists, an outcome must stay, because it prevents recording the same outcome again.
pub async fn collect_garbage(
    outcomes: Api<JobOutcome>,
    outbox: Outbox,
    retention: Duration,
    job_exists: impl Fn(&JobUid) -> bool,
) {
    let mut ticks = interval(CHECK_INTERVAL);
    loop {
        ticks.tick().await;
        if !outbox.synced() {
            continue;
        }
        let now = clock::now();
        let expired =
            outbox.select(|name, entry| is_expired(entry, retention, now).then(|| (name.clone(), entry.clone())));
        for (name, entry) in expired {
            if job_exists(&entry.job) {
                continue;
            }
            let preconditions = Preconditions { uid: entry.uid, ..Preconditions::default() };
            match outcomes.delete(name.as_str(), &DeleteParams::default().preconditions(preconditions)).await {
                Ok(_) => tracing::debug!(outcome = %name, "deleted a JobOutcome after its retention"),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(outcome = %name, error, "cannot delete a JobOutcome after its retention; retrying");
                }
            }
        }
    }
}

fn is_expired(entry: &Entry, retention: Duration, now: Timestamp) -> bool {
    let age = Duration::try_from(now.duration_since(entry.created_at)).unwrap_or_default();
    entry.settled() && !entry.is_dead() && age >= retention
}

#[cfg(test)]
mod tests {
    use jobwarden_core::outcome::OutcomeName;
    use rstest::rstest;

    use super::*;
    use crate::outbox::{JobOutcomeStatus, SinkState, SinkStatus, object::tests::mk_outcome};

    #[rstest]
    #[case::not_yet(Some(vec![SinkState::Acknowledged]), 59, false)]
    #[case::delivered_and_old(Some(vec![SinkState::Acknowledged, SinkState::Refused]), 60, true)]
    #[case::without_sinks(Some(vec![]), 60, true)]
    #[case::pending(Some(vec![SinkState::Acknowledged, SinkState::Pending]), 6000, false)]
    #[case::with_an_expired_delivery(Some(vec![SinkState::Acknowledged, SinkState::Dead]), 6000, false)]
    #[case::without_a_status(None, 6000, false)]
    fn only_old_settled_outcomes_without_expired_deliveries_are_deleted(
        #[case] states: Option<Vec<SinkState>>,
        #[case] age: u64,
        #[case] expired: bool,
    ) {
        let mut outcome = mk_outcome();
        outcome.status = states.map(|states| {
            let sink = |state| SinkStatus { state, ..SinkStatus::untried("s") };
            JobOutcomeStatus::of(states.into_iter().map(sink).collect())
        });
        let (name, created): (OutcomeName, Timestamp) = (outcome.outcome_name(), outcome.spec.created_at);
        let outbox = Outbox::new();
        outbox.note(outcome);
        let entry = outbox.get(&name).expect("noted");
        assert_eq!(is_expired(&entry, Duration::from_mins(1), created + Duration::from_secs(age)), expired);
    }
}
