//! Records together what is beyond the share of a namespace.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use jobwarden_common::{
    names::reason,
    notification::{OutcomeData, OutcomeKind},
};
use jobwarden_core::{
    evidence::JobIdentity,
    outcome::{Beyond, OutcomeName, Tally},
    plan::step::{Notice, Step},
    policy::Labels,
};
use jobwarden_serve::field_manager::post_params;
use tokio::time::interval;

use super::{Executor, clock::wall_clock};
use crate::{
    metrics::{NamespaceLabels, OutcomeLabels},
    outbox::{Due, JobOutcome},
};

/// How often it is looked for what is to be recorded.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many finalizers are released at a time.
const AT_ONCE: usize = 4;

/// The Jobs that wait for room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) count: usize,
    /// The first of them.
    pub(crate) some: Vec<JobIdentity>,
}

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
        let (namespace, beyond) = (due.namespace.clone(), Beyond::Outcomes(due.limit));
        match self.record_coalesced(&namespace, &due.tally, beyond).await {
            Ok(name) => self.outbox.cover(due, &name),
            // Its answer was lost, and another attempt would have another name: two of them count the same outcomes.
            Err(error) => {
                let (count, error): (_, &dyn std::error::Error) = (due.tally.total(), &error);
                tracing::warn!(namespace, count, error, "cannot record a coalesced outcome; retrying");
                self.outbox.gather_again(due);
            }
        }
    }

    /// Records what is counted by `tally` of a namespace that is beyond a limit. Returns the name of the outcome.
    async fn record_coalesced(
        &self,
        namespace: &str,
        tally: &Tally,
        beyond: Beyond,
    ) -> Result<OutcomeName, kube::Error> {
        let (at, count) = (wall_clock(), tally.total());
        let name = OutcomeName::coalesced(namespace, at.as_millisecond());
        let data = tally.data(&name, namespace, beyond);
        let recipients = self.routes.recipients(&name, &data, &Labels::default());
        let outcome = JobOutcome::record(&name, data, recipients, at);
        let recorded = self.outcomes.create(&post_params(), &outcome).await?;
        self.metrics.outcomes.get_or_create(&OutcomeLabels { kind: OutcomeKind::Coalesced.as_str() }).inc();
        let counted = u64::try_from(count).unwrap_or(u64::MAX);
        self.metrics.coalesced.get_or_create(&NamespaceLabels { namespace: namespace.to_owned() }).inc_by(counted);
        tracing::warn!(outcome = %name, namespace, count, limit = ?beyond, "a namespace has more than its share");
        self.outbox.note(recorded);
        Ok(name)
    }

    /// Reports the Jobs of a namespace that are not followed: those of `new` for the first time, by an Event on each that is named; and
    /// of `ended`, whose finalizers are released then. Returns whether all of that is done.
    pub(crate) async fn report_unfollowed(
        &self,
        namespace: &str,
        limit: usize,
        new: &Waiting,
        ended: &[Ended],
    ) -> bool {
        let mut tally = Tally::default();
        ended.iter().filter_map(|job| job.outcome.as_deref()).for_each(|data| tally.add(data));
        new.some.iter().for_each(|job| tally.add_unfollowed(job));
        tally.add_unnamed(new.count - new.some.len());
        if tally.total() > 0
            && let Err(error) = self.record_coalesced(namespace, &tally, Beyond::Jobs(limit)).await
        {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(namespace, error, "cannot record which Jobs are not followed; retrying");
            return false;
        }
        let events = new.some.iter().map(|job| (job, vec![Step::RecordEvent(not_followed(limit))]));
        let released = ended.iter().map(|job| (&job.identity, vec![Step::ReleaseFinalizer]));
        let steps = stream::iter(events.chain(released)).map(|(job, steps)| self.run(job, steps));
        steps.buffer_unordered(AT_ONCE).all(async |report| !report.failed).await
    }
}

/// A Job that is not followed, and has ended or is not ours to observe: its finalizer has to go.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) identity: JobIdentity,
    /// What is reported of it before, if anything.
    pub(crate) outcome: Option<Box<OutcomeData>>,
}

fn not_followed(limit: usize) -> Notice {
    let message = format!(
        "The namespace has more than {limit} Jobs, the most that jobwarden follows of it: this Job is not judged until others are gone. \
         When it ends it is reported together with others."
    );
    Notice { pod: None, reason: reason::JOB_NOT_FOLLOWED, message }
}
