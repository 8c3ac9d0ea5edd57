//! Deletes ended pods that were left behind by their Jobs, after their retention. [`jobwarden_core::orphans`] decides.
//!
//! ```text
//!  index: ended pods without a known Job ──every minute──► live reads of pod and Job ──► remembered with the time ──retention──┐
//!                                                                                                                             ▼
//!                                          outcomes of the Job delivered? ──► live reads again ──► deleted, by name and UID
//! ```

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jobwarden_common::identity::PodUid;
use jobwarden_core::{
    health::SignalHealth,
    moment::Moment,
    orphans::{Candidate, Owner, is_due, retention},
    reconcile::Mode,
    second_look::{self, Contradiction, Proceed},
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    metrics::{Metrics, StepLabels},
    observer::Observer,
    outbox::Outbox,
};

/// How often the index is searched: a retention is a matter of minutes and more.
const INTERVAL: Duration = Duration::from_mins(1);
/// How many pods are read after one search. More wait for the next.
const MOST: usize = 200;
/// How long a pod is left alone that turned out not to be left behind, for example because its Job has opted out.
const AGAIN: Duration = Duration::from_mins(10);
/// The name of the step on metrics.
const STEP: &str = "delete-orphan";

/// Deletes ended pods without a Job.
pub struct Orphans {
    client: Client,
    observer: Observer,
    outbox: Outbox,
    mode: Mode,
    metrics: Metrics,
}

/// What a live read showed of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It was left behind by its Job. It is kept for so long since then.
    LeftBehind { since: Moment, retention: Duration },
    /// It was not.
    NotLeftBehind { at: Moment },
}

/// A pod and its Job as they were just read, and what the second look says about deleting the pod.
struct Read {
    pod: Option<Pod>,
    answer: second_look::Answer,
}

impl Orphans {
    /// Finds pods in the index of `observer`; `outbox` says what was delivered.
    pub fn new(client: Client, observer: Observer, outbox: Outbox, mode: Mode, metrics: Metrics) -> Self {
        Self { client, observer, outbox, mode, metrics }
    }

    /// Never returns. Only the leader may run it.
    pub async fn run(&self) {
        if self.mode == Mode::ObserveOnly {
            return std::future::pending().await;
        }
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = HashMap::new();
        loop {
            ticks.tick().await;
            self.sweep(&mut known).await;
        }
    }

    /// Searches once. `known` is what earlier searches found.
    async fn sweep(&self, known: &mut HashMap<PodUid, Seen>) {
        // Before everything is listed, and while a watch is down, a Job may be missing from the index that exists.
        let is_current = self.observer.synced() && self.observer.health() != SignalHealth::WatchDown;
        if !is_current || !self.outbox.synced() {
            return;
        }
        let (candidates, now) = self.observer.with(|index, now| (index.orphan_candidates(), now));
        let found: HashSet<_> = candidates.iter().map(|candidate| &candidate.uid).collect();
        known.retain(|uid, _| found.contains(uid));
        let wanted = candidates.iter().filter(|candidate| match known.get(&candidate.uid) {
            None => true,
            Some(Seen::LeftBehind { since, retention }) => {
                is_due(*since, *retention, now) && self.is_delivered(candidate)
            }
            Some(Seen::NotLeftBehind { at }) => now.since(*at) >= AGAIN,
        });
        let wanted: Vec<_> = wanted.take(MOST).collect();
        for candidate in wanted {
            match self.look_at(candidate, known.get(&candidate.uid).copied(), now).await {
                Ok(seen) => drop(known.insert(candidate.uid.clone(), seen)),
                Err(error) => {
                    self.count("error");
                    let Candidate { namespace, name, .. } = candidate;
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(
                        namespace,
                        pod = name,
                        error,
                        "cannot delete a pod left behind by its Job; retrying"
                    );
                }
            }
        }
    }

    /// Whether no outcome of its Job waits to be recorded or delivered. One that is not recorded was delivered and deleted since: the
    /// finalizer keeps a Job until its outcome is recorded.
    fn is_delivered(&self, candidate: &Candidate) -> bool {
        !self.outbox.waits(&candidate.job) && self.outbox.of_job(&candidate.job).values().all(|has_ended| *has_ended)
    }

    /// Reads a pod and its Job. Deletes the pod if it was left behind for its retention already.
    async fn look_at(&self, candidate: &Candidate, before: Option<Seen>, now: Moment) -> kube::Result<Seen> {
        let Read { pod, answer } = self.read(candidate).await?;
        let (Ok(Proceed::Write), Some(pod)) = (answer, pod) else { return Ok(Seen::NotLeftBehind { at: now }) };
        let retention = self.observer.with_policies(|policies| retention(&pod, policies));
        // Two reads have to show it, the first of which begins its retention.
        let Some(Seen::LeftBehind { since, .. }) = before else {
            return Ok(Seen::LeftBehind { since: now, retention });
        };
        if is_due(since, retention, now) && self.is_delivered(candidate) {
            self.delete(candidate).await?;
        }
        Ok(Seen::LeftBehind { since, retention })
    }

    async fn read(&self, candidate: &Candidate) -> kube::Result<Read> {
        let Candidate { uid, name, namespace, job } = candidate;
        let pod = Api::<Pod>::namespaced(self.client.clone(), namespace).get_opt(name).await?;
        let pod = pod.filter(|pod| pod.metadata.uid.as_deref() == Some(uid.as_str()));
        let owner = pod.as_ref().and_then(Owner::of).filter(|owner| owner.uid == *job);
        let Some(owner) = owner else { return Ok(Read { pod, answer: Err(Contradiction::NotOfThisJob) }) };
        // A read without a resourceVersion is the most recent one, whatever a watch has delivered.
        let job = Api::<Job>::namespaced(self.client.clone(), namespace).get_opt(&owner.name).await?;
        // Where only selected Jobs are followed, anybody may have written the label that says that the pod is ours.
        let is_selected = |pod: &Pod| {
            self.observer.with(|index, _| {
                index.selection_in(namespace).is_none_or(|selection| selection.selects_object(&pod.metadata))
            })
        };
        if !pod.as_ref().is_some_and(is_selected) {
            return Ok(Read { pod, answer: Err(Contradiction::OptedOut) });
        }
        let answer = second_look::delete_orphan(&owner, pod.as_ref(), job.as_ref());
        Ok(Read { pod, answer })
    }

    async fn delete(&self, candidate: &Candidate) -> kube::Result<()> {
        let Candidate { uid, name, namespace, job } = candidate;
        let preconditions = Preconditions { uid: Some(uid.to_string()), ..Preconditions::default() };
        let params = DeleteParams::background().preconditions(preconditions);
        match Api::<Pod>::namespaced(self.client.clone(), namespace).delete(name, &params).await {
            Ok(_) => {
                tracing::info!(namespace, pod = name, job_uid = %job, "deleted an ended pod that its Job had left behind");
                self.count("ok");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn count(&self, result: &'static str) {
        self.metrics.steps.get_or_create(&StepLabels { step: STEP, result }).inc();
    }
}

#[cfg(test)]
mod tests;
