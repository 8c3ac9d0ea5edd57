//! Backfill: labels Jobs and pods that were created without admission, for example while the webhook was unavailable.
//!
//! ```text
//!  enrolled namespaces ────┐
//!  Jobs without our label ─┼─► after a grace period: read, decide as the webhook would, patch what can still be changed
//!  their pods ─────────────┘
//! ```
//!
//! The watches of [`crate::watch`] receive an object once it has the label. Objects in namespaces that are not enrolled are not
//! stored.

mod labeler;
pub mod rules;
mod target;

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

pub use self::labeler::Metrics;
use self::{
    labeler::Labeler,
    target::{Kind, Target},
};

/// Namespaces that the webhook ignores even if they are labelled, besides jobwarden's own. The same as in the chart's webhook
/// configuration.
const EXCLUDED_NAMESPACES: [&str; 1] = ["kube-system"];

/// The delay before an object is patched. The watch may deliver an object before its creation has completed.
const GRACE_PERIOD: Duration = Duration::from_secs(3);

/// The pause before a failed request is retried.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Labels objects that were created without admission.
pub struct Backfill {
    client: Client,
    /// Jobwarden's own namespaces.
    own: BTreeSet<String>,
    labeler: Labeler,
}

impl Backfill {
    /// Identifies objects by `rules`, and adds the finalizer to Jobs if `finalizer` is set. `own` are jobwarden's own namespaces.
    pub fn new(
        client: Client,
        own: impl IntoIterator<Item = String>,
        rules: watch::Receiver<Arc<Rules>>,
        finalizer: bool,
        metrics: Metrics,
    ) -> Self {
        let labeler = Labeler::new(client.clone(), rules, finalizer, metrics);
        Self { client, own: own.into_iter().collect(), labeler }
    }

    /// Never returns. Only the leader may run it.
    pub async fn run(&self) {
        let enrolling = format!("{}={}", label::INJECT, label_value::ENABLED);
        let unlabelled = format!("!{}", label::ENROLLED);
        let namespaces = self.watch::<Namespace>(&enrolling);
        let jobs = self.watch::<Job>(&unlabelled).try_filter_map(async |job| Ok(target(Kind::Job, &job)));
        let pods = self.watch::<Pod>(&format!("{},{unlabelled}", label::JOB_NAME));
        let pods = pods.try_filter_map(async |pod| Ok(target(Kind::Pod, &pod)));
        let (mut namespaces, mut jobs, mut pods) =
            (std::pin::pin!(namespaces), std::pin::pin!(jobs), std::pin::pin!(pods));
        let mut enrolled = BTreeSet::new();
        let mut working = FuturesUnordered::new();
        loop {
            let found = tokio::select! {
                Some(event) = namespaces.next() => match event {
                    Ok(event) => self.enroll(&mut enrolled, event).await,
                    Err(error) => log_restart("namespaces", &error),
                },
                Some(found) = jobs.next() => found.map_or_else(|error| log_restart("jobs", &error), |found| vec![found]),
                Some(found) = pods.next() => found.map_or_else(|error| log_restart("pods", &error), |found| vec![found]),
                Some(()) = working.next() => continue,
            };
            for target in found.into_iter().filter(|target| enrolled.contains(&target.namespace)) {
                working.push(self.label(target));
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

    /// Tracks the enrolled namespaces. Returns the unlabelled objects of a newly enrolled one.
    async fn enroll(&self, enrolled: &mut BTreeSet<String>, event: Event<PartialObjectMeta<Namespace>>) -> Vec<Target> {
        match event {
            Event::Init | Event::InitDone => Vec::new(),
            Event::Delete(namespace) => {
                enrolled.remove(&namespace.name_any());
                Vec::new()
            }
            Event::Apply(namespace) | Event::InitApply(namespace) => {
                let name = namespace.name_any();
                if self.own.contains(&name)
                    || EXCLUDED_NAMESPACES.contains(&name.as_str())
                    || !enrolled.insert(name.clone())
                {
                    return Vec::new();
                }
                let unlabelled = format!("!{}", label::ENROLLED);
                let mut found = self.list::<Job>(Kind::Job, &name, &unlabelled).await;
                found.extend(self.list::<Pod>(Kind::Pod, &name, &format!("{},{unlabelled}", label::JOB_NAME)).await);
                found
            }
        }
    }

    async fn list<K>(&self, kind: Kind, namespace: &str, labels: &str) -> Vec<Target>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        loop {
            match api.list_metadata(&ListParams::default().labels(labels)).await {
                Ok(list) => {
                    let name = |object: PartialObjectMeta<K>| object.metadata.name;
                    let names = list.items.into_iter().filter_map(name);
                    return names.map(|name| Target { kind, namespace: namespace.to_owned(), name }).collect();
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(namespace, error, "cannot list objects without labels; retrying");
                    sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Labels one object, with retries until it succeeds.
    async fn label(&self, target: Target) {
        sleep(GRACE_PERIOD).await;
        while let Err(error) = self.labeler.label(&target).await {
            let Target { kind, namespace, name } = &target;
            let error: &dyn std::error::Error = &error;
            tracing::warn!(?kind, namespace, name, error, "cannot label the object; retrying");
            sleep(RETRY_AFTER).await;
        }
    }
}

fn target<K: Resource<DynamicType = ()>>(kind: Kind, event: &Event<PartialObjectMeta<K>>) -> Option<Target> {
    let (Event::Apply(object) | Event::InitApply(object)) = event else { return None };
    let metadata = &object.metadata;
    let (namespace, name) = (metadata.namespace.clone()?, metadata.name.clone()?);
    metadata.deletion_timestamp.is_none().then_some(Target { kind, namespace, name })
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
        let backfill = Backfill::new(Client::new(away, "default"), [], rules, true, Metrics::default());
        assert!(timeout(Duration::from_mins(10), backfill.run()).await.is_err(), "run never returns");
    }
}
