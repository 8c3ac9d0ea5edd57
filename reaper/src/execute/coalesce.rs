//! Records together what is beyond the share of a namespace.

use std::time::Duration;

use jobwarden_common::notification::OutcomeKind;
use jobwarden_core::outcome::OutcomeName;
use jobwarden_serve::field_manager::post_params;
use tokio::time::interval;

use super::{Executor, clock::wall_clock};
use crate::{
    metrics::{NamespaceLabels, OutcomeLabels},
    outbox::{Due, JobOutcome},
};

/// How often it is looked for what is to be recorded.
const INTERVAL: Duration = Duration::from_secs(1);

impl Executor {
    /// Records what is to be recorded together until the future is dropped.
    pub async fn coalesce(&self) {
        let mut ticks = interval(INTERVAL);
        loop {
            ticks.tick().await;
            for due in self.outbox.take_due() {
                self.record_together(due).await;
            }
        }
    }

    async fn record_together(&self, due: Due) {
        let at = wall_clock();
        let (namespace, count) = (due.namespace.clone(), due.tally.count());
        let name = OutcomeName::coalesced(&namespace, at.as_millisecond());
        let outcome = JobOutcome::record(&name, due.tally.data(&name, &namespace, due.limit), at);
        let recorded = match self.outcomes.create(&post_params(), &outcome).await {
            Ok(recorded) => recorded,
            // Its answer was lost, and another attempt would have another name: two of them count the same outcomes.
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(namespace, count, error, "cannot record a coalesced outcome; retrying");
                return self.outbox.gather_again(due);
            }
        };
        self.metrics.outcomes.get_or_create(&OutcomeLabels { kind: OutcomeKind::Coalesced.as_str() }).inc();
        let counted = u64::try_from(count).unwrap_or(u64::MAX);
        self.metrics.coalesced.get_or_create(&NamespaceLabels { namespace: namespace.clone() }).inc_by(counted);
        tracing::warn!(outcome = %name, namespace, count, limit = due.limit, "a namespace has more outcomes than its share");
        // Its status is initialized by the deliverer's first attempt, if not here.
        let recorded = match self.initialize_sinks(&name, recorded.clone()).await {
            Ok(initialized) => initialized,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(outcome = %name, error, "cannot initialize the status of a coalesced outcome");
                recorded
            }
        };
        self.outbox.note(recorded);
        self.outbox.cover(due, &name);
    }
}
