//! Backfill: labels Jobs and pods that have not, or no longer, the label by which the watches of [`crate::watch`] select them: created
//! without admission, for example while the webhook was unavailable, or relabelled by hand.
//!
//! ```text
//!  enrolled namespaces ─────────┐
//!  Jobs without our label ──────┼─► after a grace period: read, decide as the webhook would, patch what can still be changed
//!  their pods ──────────────────┘
//!  Jobs and pods that are selected by their labels, in namespaces that are named ──► the same
//!  Jobs elsewhere, or opted out, with our finalizer ──► after a grace period: read them and the namespace, remove the finalizer
//! ```
//!
//! Objects in namespaces that are not enrolled are not stored. Jobs there that have the label are the index's (row J9).

mod enrolled;
mod labeler;
pub mod rules;
mod target;

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream::FuturesUnordered};
use jobwarden_common::names::{label, label_value};
use jobwarden_core::selection::Selection;
use jobwarden_inject::identity::Rules;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        batch::v1::Job,
        core::v1::{Namespace, Pod},
    },
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, PartialObjectMeta},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, time::sleep};

pub use self::labeler::Metrics;
use self::{
    enrolled::{Change, EnrolledNamespaces},
    labeler::Labeler,
    target::{Kind, Target, Working},
};
use crate::{deliver::Routes, namespaces::OwnNamespaces};

/// The delay before an object is patched. The watch may deliver an object before its creation has completed.
const GRACE_PERIOD: Duration = Duration::from_secs(3);

/// The pause before a failed request is retried.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Labels objects that were created without admission.
pub struct Backfill {
    client: Client,
    own: OwnNamespaces,
    selection: Selection,
    labeler: Labeler,
}

impl Backfill {
    /// Identifies objects by `rules`, and adds the finalizer to Jobs while `routes` has a sink. `own` are jobwarden's own namespaces; what
    /// `selection` selects is labelled although its namespace is not enrolled.
    pub fn new(
        client: Client,
        own: OwnNamespaces,
        selection: Selection,
        rules: watch::Receiver<Arc<Rules>>,
        routes: Routes,
        metrics: Metrics,
    ) -> Self {
        let labeler = Labeler::new(client.clone(), own.clone(), selection.clone(), rules, routes, metrics);
        Self { client, own, selection, labeler }
    }

    /// Never returns. Only the leader may run it.
    pub async fn run(&self) {
        let enrolling = format!("{}={}", label::INJECT, label_value::ENABLED);
        let unlabelled = unlabelled();
        let namespaces = self.watch::<Namespace>(&enrolling);
        let jobs = self.watch::<Job>(&unlabelled).try_filter_map(async |job| Ok(self.target(Kind::Job, &job)));
        let pods = self.watch::<Pod>(&format!("{},{unlabelled}", label::JOB_NAME));
        let pods = pods.try_filter_map(async |pod| Ok(self.target(Kind::Pod, &pod)));
        let (mut namespaces, mut jobs, mut pods) =
            (std::pin::pin!(namespaces), std::pin::pin!(jobs), std::pin::pin!(pods));
        let mut enrolled = EnrolledNamespaces::default();
        let (mut working, mut work) = (Working::default(), FuturesUnordered::new());
        loop {
            let found = tokio::select! {
                Some(event) = namespaces.next() => match event {
                    Ok(event) => self.follow(&mut enrolled, event).await,
                    Err(error) => log_restart("namespaces", &error),
                },
                Some(found) = jobs.next() => found.map_or_else(|error| log_restart("jobs", &error), |found| vec![found]),
                Some(found) = pods.next() => found.map_or_else(|error| log_restart("pods", &error), |found| vec![found]),
                Some(done) = work.next() => {
                    let again: Option<Target> = working.end(&done);
                    work.extend(again.map(|target| self.label(target)));
                    continue;
                }
            };
            for mut target in found {
                let is_enrolled = enrolled.contains(&target.namespace);
                target.is_selected &= !is_enrolled;
                if (target.is_held || target.is_selected || is_enrolled) && working.begin(&target) {
                    work.push(self.label(target));
                }
            }
        }
    }

    fn watch<K>(&self, labels: &str) -> impl Stream<Item = Result<Event<PartialObjectMeta<K>>, watcher::Error>> + use<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let config = watcher::Config::default().labels(labels);
        // `watcher` restarts after every error, with backoff.
        watcher(Api::<PartialObjectMeta<K>>::all(self.client.clone()), config).default_backoff()
    }

    /// Tracks the enrolled namespaces. Returns the unlabelled objects of those that are newly enrolled, and the Jobs that we hold in those
    /// that are enrolled no longer.
    async fn follow(
        &self,
        enrolled: &mut EnrolledNamespaces,
        event: Event<PartialObjectMeta<Namespace>>,
    ) -> Vec<Target> {
        let mut found = Vec::new();
        for change in enrolled.apply(event, |metadata| self.own.enrols(metadata)) {
            let unlabelled = unlabelled();
            match change {
                Change::Entered(name) => {
                    found.extend(self.list::<Job>(Kind::Job, &name, &unlabelled).await);
                    let pods = format!("{},{unlabelled}", label::JOB_NAME);
                    found.extend(self.list::<Pod>(Kind::Pod, &name, &pods).await);
                }
                Change::Left(name) => {
                    let jobs = self.list::<Job>(Kind::Job, &name, &unlabelled).await;
                    found.extend(jobs.into_iter().filter(|job| job.is_held));
                }
            }
        }
        found
    }

    async fn list<K>(&self, kind: Kind, namespace: &str, labels: &str) -> Vec<Target>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        loop {
            match api.list_metadata(&ListParams::default().labels(labels)).await {
                Ok(list) => {
                    return list
                        .items
                        .iter()
                        .filter_map(|object| Target::of(kind, &object.metadata, &self.selection))
                        .collect();
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(namespace, error, "cannot list objects without labels; retrying");
                    sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    fn target<K: Resource<DynamicType = ()>>(&self, kind: Kind, event: &Event<PartialObjectMeta<K>>) -> Option<Target> {
        let (Event::Apply(object) | Event::InitApply(object)) = event else { return None };
        Target::of(kind, &object.metadata, &self.selection)
    }

    /// Labels or releases one object, with retries until it succeeds, and returns it.
    async fn label(&self, target: Target) -> Target {
        sleep(GRACE_PERIOD).await;
        while let Err(error) = self.labeler.label(&target).await {
            let Target { kind, namespace, name, .. } = &target;
            let error: &dyn std::error::Error = &error;
            tracing::warn!(?kind, namespace, name, error, "cannot label the object; retrying");
            sleep(RETRY_AFTER).await;
        }
        target
    }
}

/// Selects what lacks the label, and what has another value: the label is jobwarden's own.
fn unlabelled() -> String {
    format!("{}!={}", label::ENROLLED, label_value::TRUE)
}

/// Logs the error of a watch, which restarts by itself.
fn log_restart(watch: &str, error: &watcher::Error) -> Vec<Target> {
    let error: &dyn std::error::Error = error;
    tracing::warn!(watch, error, "cannot watch objects without labels; retrying with backoff");
    Vec::new()
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_unavailable_api_server_is_retried() {
        let away = tower::service_fn(async |_: http::Request<kube::client::Body>| {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("connection refused"))
        });
        let (_keep, rules) = watch::channel(Arc::new(Rules::default()));
        let backfill = Backfill::new(
            Client::new(away, "default"),
            OwnNamespaces::default(),
            Selection::default(),
            rules,
            Routes::default(),
            Metrics::default(),
        );
        assert!(timeout(Duration::from_mins(10), backfill.run()).await.is_err(), "run never returns");
    }
}
