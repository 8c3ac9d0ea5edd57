//! Outcomes that nobody needs any more.

use std::time::Duration;

use jiff::Timestamp;
use jobwarden_common::identity::JobUid;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use tokio::time::interval;

use crate::outbox::{Entry, JobOutcome, Outbox};

/// How often they are looked for.
const EVERY: Duration = Duration::from_mins(1);

/// Deletes outcomes that are older than `retention`, settled, given up by no sink, and whose Jobs are gone, for as long as it
/// is polled. While its Job exists, an outcome is what keeps it from being recorded again.
pub async fn retire(
    outcomes: Api<JobOutcome>,
    outbox: Outbox,
    retention: Duration,
    job_exists: impl Fn(&JobUid) -> bool,
) {
    let mut ticks = interval(EVERY);
    loop {
        ticks.tick().await;
        if !outbox.synced() {
            continue;
        }
        let now = Timestamp::now();
        let over = outbox.select(|name, entry| is_over(entry, retention, now).then(|| (name.clone(), entry.clone())));
        for (name, entry) in over {
            if job_exists(&entry.job) {
                continue;
            }
            let preconditions = Preconditions { uid: entry.uid, ..Preconditions::default() };
            match outcomes.delete(name.as_str(), &DeleteParams::default().preconditions(preconditions)).await {
                Ok(_) => tracing::debug!(outcome = %name, "retired"),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(outcome = %name, error, "cannot retire an outcome; trying again");
                }
            }
        }
    }
}

fn is_over(entry: &Entry, retention: Duration, now: Timestamp) -> bool {
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
    #[case::nobody_was_to_be_told(Some(vec![]), 60, true)]
    #[case::still_to_be_delivered(Some(vec![SinkState::Acknowledged, SinkState::Pending]), 6000, false)]
    #[case::given_up(Some(vec![SinkState::Acknowledged, SinkState::Dead]), 6000, false)]
    #[case::not_even_addressed(None, 6000, false)]
    fn only_what_everybody_has_is_retired(
        #[case] states: Option<Vec<SinkState>>,
        #[case] age: u64,
        #[case] over: bool,
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
        assert_eq!(is_over(&entry, Duration::from_mins(1), created + Duration::from_secs(age)), over);
    }
}
