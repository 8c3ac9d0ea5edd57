//! What admission has missed: Jobs that were created while no webhook answered, and pods that were let past.
//!
//! ```text
//!  enrolled namespaces ─┐
//!  Jobs without our label ─┼─► after a grace: read, decide as admission would, patch what can still be changed
//!  their pods ─────────────┘
//! ```
//!
//! Once they have the label, the watches of [`crate::observe`] see them, and everything else follows. Nothing is kept of objects in
//! namespaces that are not enrolled.

pub mod rules;
mod stamper;

use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream::FuturesUnordered};
use jobwarden_common::names::{label, label_value};
use jobwarden_inject::identity::Rules;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        batch::v1::Job,
        core::v1::{Namespace, Pod},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{ListParams, PartialObjectMeta},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, time::sleep};

pub use self::stamper::Metrics;
use self::stamper::Stamper;

/// Namespaces that admission never touches even when labelled, beside our own; as in the webhook configuration of the chart.
const NEVER: [&str; 1] = ["kube-system"];

/// How long an object is left to itself: a watch may show it before the rest of its creation is over.
const GRACE: Duration = Duration::from_secs(3);

/// How long to wait before an object is tried again that could not be patched.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Makes up for what admission has backfill.
pub struct Backfill {
    client: Client,
    /// Our own namespaces.
    own: BTreeSet<String>,
    stamper: Stamper,
}

/// An object that admission has backfill.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    kind: Kind,
    namespace: String,
    name: String,
}

/// Of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Job,
    Pod,
}

impl Backfill {
    /// Decides by `rules`, and holds Jobs by the finalizer if `finalizer` says so. `own` are jobwarden's own namespaces.
    pub fn new(
        client: Client,
        own: impl IntoIterator<Item = String>,
        rules: watch::Receiver<Arc<Rules>>,
        finalizer: bool,
        metrics: Metrics,
    ) -> Self {
        let stamper = Stamper::new(client.clone(), rules, finalizer, metrics);
        Self { client, own: own.into_iter().collect(), stamper }
    }

    /// Works for ever; only the leader may.
    pub async fn run(&self) {
        let enrolling = format!("{}={}", label::INJECT, label_value::ENABLED);
        let unlabelled = format!("!{}", label::ENROLLED);
        let namespaces = self.watch::<Namespace>(&enrolling);
        let jobs = self.watch::<Job>(&unlabelled).try_filter_map(async |job| Ok(found(Kind::Job, &job)));
        let pods = self.watch::<Pod>(&format!("{},{unlabelled}", label::JOB_NAME));
        let pods = pods.try_filter_map(async |pod| Ok(found(Kind::Pod, &pod)));
        let (mut namespaces, mut jobs, mut pods) =
            (std::pin::pin!(namespaces), std::pin::pin!(jobs), std::pin::pin!(pods));
        let mut enrolled = BTreeSet::new();
        let mut working = FuturesUnordered::new();
        loop {
            let found = tokio::select! {
                Some(event) = namespaces.next() => match event {
                    Ok(event) => self.enroll(&mut enrolled, event).await,
                    Err(error) => again("namespaces", &error),
                },
                Some(found) = jobs.next() => found.map_or_else(|error| again("jobs", &error), |found| vec![found]),
                Some(found) = pods.next() => found.map_or_else(|error| again("pods", &error), |found| vec![found]),
                Some(()) = working.next() => continue,
            };
            for found in found.into_iter().filter(|found| enrolled.contains(&found.namespace)) {
                working.push(self.settle(found));
            }
        }
    }

    fn watch<K>(&self, labels: &str) -> impl Stream<Item = Result<Event<PartialObjectMeta<K>>, watcher::Error>> + use<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let config = watcher::Config::default().labels(labels);
        // It starts again by itself after whatever the API server does; the backoff paces it.
        watcher(Api::<PartialObjectMeta<K>>::all(self.client.clone()), config).default_backoff()
    }

    /// Follows which namespaces are enrolled; returns what admission has missed in one that is new.
    async fn enroll(&self, enrolled: &mut BTreeSet<String>, event: Event<PartialObjectMeta<Namespace>>) -> Vec<Found> {
        match event {
            Event::Init | Event::InitDone => Vec::new(),
            Event::Delete(namespace) => {
                enrolled.remove(&namespace.name_any());
                Vec::new()
            }
            Event::Apply(namespace) | Event::InitApply(namespace) => {
                let name = namespace.name_any();
                if self.own.contains(&name) || NEVER.contains(&name.as_str()) || !enrolled.insert(name.clone()) {
                    return Vec::new();
                }
                let unlabelled = format!("!{}", label::ENROLLED);
                let mut found = self.list::<Job>(Kind::Job, &name, &unlabelled).await;
                found.extend(self.list::<Pod>(Kind::Pod, &name, &format!("{},{unlabelled}", label::JOB_NAME)).await);
                found
            }
        }
    }

    async fn list<K>(&self, kind: Kind, namespace: &str, labels: &str) -> Vec<Found>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        loop {
            match api.list_metadata(&ListParams::default().labels(labels)).await {
                Ok(list) => {
                    let name = |object: PartialObjectMeta<K>| object.metadata.name;
                    let names = list.items.into_iter().filter_map(name);
                    return names.map(|name| Found { kind, namespace: namespace.to_owned(), name }).collect();
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(namespace, error, "cannot list what admission has missed; trying again");
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Stamps one object, however long that takes.
    async fn settle(&self, found: Found) {
        sleep(GRACE).await;
        while let Err(error) = self.stamper.stamp(&found).await {
            let Found { kind, namespace, name } = &found;
            let error: &dyn std::error::Error = &error;
            tracing::warn!(?kind, namespace, name, error, "cannot make up for what admission has missed; trying again");
            sleep(AGAIN_AFTER).await;
        }
    }
}

fn found<K: Resource<DynamicType = ()>>(kind: Kind, event: &Event<PartialObjectMeta<K>>) -> Option<Found> {
    let (Event::Apply(object) | Event::InitApply(object)) = event else { return None };
    let metadata = &object.metadata;
    let (namespace, name) = (metadata.namespace.clone()?, metadata.name.clone()?);
    metadata.deletion_timestamp.is_none().then_some(Found { kind, namespace, name })
}

/// A watch has failed, and starts again by itself.
fn again(watch: &str, error: &watcher::Error) -> Vec<Found> {
    let error: &dyn std::error::Error = error;
    tracing::warn!(watch, error, "cannot follow what admission may have missed; trying again");
    Vec::new()
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_away_is_tried_again() {
        let away = tower::service_fn(async |_: http::Request<kube::client::Body>| {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("connection refused"))
        });
        let (_keep, rules) = watch::channel(Arc::new(Rules::default()));
        let backfill = Backfill::new(Client::new(away, "default"), [], rules, true, Metrics::default());
        assert!(timeout(Duration::from_mins(10), backfill.run()).await.is_err(), "it works for ever");
    }
}
