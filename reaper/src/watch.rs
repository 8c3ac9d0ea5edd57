//! Lists and watches Jobs, pods, nodes, node Leases and namespaces, and reconnects after every failure.
//!
//! `kube::runtime::watcher` does not report whether it is connected, which the guard `watch-down` needs: after an error it
//! yields nothing until an object changes, which can take hours, and it does not detect a connection that died silently.

use std::{collections::HashSet, time::Duration};

use futures::{Stream, StreamExt as _};
use jobwarden_common::names::{label, label_value};
use jobwarden_core::{
    consistency::Listed,
    health::{Failure, Watch},
};
use k8s_openapi::api::{
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{Namespace, Node, Pod},
};
use kube::{
    Api, Client,
    api::{ListParams, WatchEvent, WatchParams},
    runtime::{utils::Backoff, watcher::DefaultBackoff},
};
use tokio::time::{Instant, sleep, timeout};

use self::{
    consistency::{Checks, Inconsistency},
    objects::Watched,
    page::PageSize,
    request::{LIST_TIMEOUT, TIMEOUT, WatchError},
};
use crate::observer::Observer;

pub use self::schedule::{LIST_INTERVALS, NothingFollows, Schedule};

mod consistency;
mod objects;
pub(crate) mod page;
pub(crate) mod request;
mod schedule;
#[cfg(test)]
mod tests;

/// `timeoutSeconds` of one watch request. A new watch continues from the same resourceVersion at little cost, and its start
/// shows that the API server responds.
const WATCH_SECONDS: u32 = 25;

/// The longest pause between two attempts, so that watches resume soon after the API server is back.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A watch that ends sooner than this is retried with backoff, even if it ended without an error.
const SHORT: Duration = Duration::from_secs(1);

/// The namespace of the Leases that kubelets renew (KEP-589).
const NODE_LEASES: &str = "kube-node-lease";

/// Passes all Jobs, pods, nodes, node Leases and namespaces, and every change of them, to the observer. Never returns. Jobs and pods are
/// watched and listed as `schedule` says.
///
/// Needs the verbs list and watch on Jobs, pods, nodes and namespaces in the cluster, and on Leases in `kube-node-lease`.
pub async fn follow(client: Client, observer: Observer, schedule: Schedule) {
    let enrolled = Some(format!("{}={}", label::ENROLLED, label_value::TRUE));
    let jobs = Follower::<Job>::new(Api::all(client.clone()), enrolled.clone(), &observer).by(schedule);
    let pods = Follower::<Pod>::new(Api::all(client.clone()), enrolled, &observer).by(schedule);
    let nodes = Follower::<Node>::new(Api::all(client.clone()), None, &observer);
    let leases = Follower::<Lease>::new(Api::namespaced(client.clone(), NODE_LEASES), None, &observer);
    let namespaces = Follower::<Namespace>::new(Api::all(client), None, &observer);
    tokio::join!(jobs.run(), pods.run(), nodes.run(), leases.run(), namespaces.run());
}

/// Lists and watches the objects of one kind.
struct Follower<K> {
    api: Api<K>,
    labels: Option<String>,
    observer: Observer,
    schedule: Schedule,
    /// The resourceVersion to watch from; `None` if everything has to be listed first.
    version: Option<String>,
    checks: Checks,
}

impl<K: Watched> Follower<K> {
    fn new(api: Api<K>, labels: Option<String>, observer: &Observer) -> Self {
        let schedule = Schedule::default();
        let checks = Checks::new(schedule.lists());
        Self { api, labels, observer: observer.clone(), schedule, version: None, checks }
    }

    /// The same with another schedule.
    fn by(self, schedule: Schedule) -> Self {
        Self { schedule, checks: Checks::new(schedule.lists()), ..self }
    }

    async fn run(self) {
        match self.schedule.lists_only() {
            Some(every) => self.list_every(every).await,
            None => self.watch().await,
        }
    }

    /// Lists again and again, without a watch. What a list shows is as old as the last one.
    async fn list_every(mut self, every: Duration) {
        let mut backoff = DefaultBackoff::default();
        loop {
            let pause = match self.list().await {
                Ok(_) => {
                    backoff.reset();
                    every
                }
                Err(error) => {
                    self.observer.watch_failed(K::WATCH, error.failure());
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(watch = K::WATCH.as_str(), error, "list failed; retrying with backoff");
                    backoff.next().unwrap_or(MAX_PAUSE).min(MAX_PAUSE)
                }
            };
            sleep(pause).await;
        }
    }

    async fn watch(mut self) {
        let mut backoff = DefaultBackoff::default();
        loop {
            let started = Instant::now();
            let result = self.once().await;
            if let Err(error) = &result {
                self.observer.watch_failed(K::WATCH, error.failure());
                self.checks.watch_failed();
                if error.is_expired() {
                    self.version = None;
                }
                let error: &dyn std::error::Error = error;
                tracing::warn!(watch = K::WATCH.as_str(), error, "watch failed; retrying with backoff");
            } else if started.elapsed() >= SHORT {
                backoff.reset();
                continue;
            }
            sleep(backoff.next().unwrap_or(MAX_PAUSE).min(MAX_PAUSE)).await;
        }
    }

    /// Lists if necessary, and watches until the API server ends the watch.
    async fn once(&mut self) -> Result<(), WatchError> {
        if self.version.is_some()
            && let Some(inconsistency) = self.checks.run(&self.api, self.labels.as_ref()).await
        {
            self.list_again(inconsistency);
        }
        let from = match self.version.clone() {
            Some(version) => version,
            None => self.list().await?,
        };
        self.version = Some(from.clone());
        let params = WatchParams {
            label_selector: self.labels.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        };
        let starting = timeout(TIMEOUT, self.api.watch(&params, &from)).await;
        let events = starting.map_err(|_| WatchError::Silent)?.map_err(WatchError::Start)?;
        self.observer.watch_received(K::WATCH);
        self.process(std::pin::pin!(events)).await
    }

    /// What was delivered is not what the API server holds, so everything has to be listed.
    fn list_again(&mut self, inconsistency: Inconsistency) {
        let objects = inconsistency.objects();
        tracing::warn!(watch = K::WATCH.as_str(), objects, "{}", inconsistency.message());
        self.observer.watch_inconsistent(K::WATCH, inconsistency.as_str());
        // Until everything is listed, nothing may be concluded from what was delivered.
        self.observer.watch_failed(K::WATCH, Failure::TimedOut);
        self.version = None;
    }

    async fn process(
        &mut self,
        mut events: impl Stream<Item = kube::Result<WatchEvent<K>>> + Unpin,
    ) -> Result<(), WatchError> {
        let limit = Duration::from_secs(WATCH_SECONDS.into()) + TIMEOUT;
        while let Some(event) = timeout(limit, events.next()).await.map_err(|_| WatchError::Silent)? {
            let version = match event.map_err(WatchError::Broken)? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    object.applied(&self.observer);
                    let version = object.meta().resource_version.clone();
                    if let Some(key) = K::key(object.meta()) {
                        self.checks.received.apply(&key, version.as_deref());
                    }
                    version
                }
                WatchEvent::Deleted(object) => {
                    object.deleted(&self.observer);
                    let version = object.meta().resource_version.clone();
                    if let Some(key) = K::key(object.meta()) {
                        self.checks.received.delete(&key, version.as_deref());
                    }
                    version
                }
                WatchEvent::Bookmark(bookmark) => {
                    self.checks.received.progress(Some(&bookmark.metadata.resource_version));
                    Some(bookmark.metadata.resource_version)
                }
                WatchEvent::Error(status) => return Err(WatchError::Ended(status)),
            };
            self.version = version.or_else(|| self.version.take());
            self.observer.watch_received(K::WATCH);
        }
        self.observer.watch_received(K::WATCH);
        Ok(())
    }

    /// Lists all objects, which also shows which ones are gone; returns the resourceVersion to watch from.
    async fn list(&mut self) -> Result<String, WatchError> {
        let mut params = ListParams { label_selector: self.labels.clone(), ..ListParams::default() };
        let mut size = PageSize::default();
        let (mut listed, mut versions) = (HashSet::new(), Listed::default());
        loop {
            let page = timeout(LIST_TIMEOUT, page::objects(&self.api, &mut params, &mut size)).await;
            let page = page.map_err(|_| WatchError::ListTimeout)?.map_err(WatchError::List)?;
            for object in &page.items {
                object.applied(&self.observer);
                let metadata = object.meta();
                if let Some(key) = K::key(metadata) {
                    versions.add(&key, metadata.resource_version.as_deref());
                    listed.insert(key);
                }
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                K::listed(&listed, &self.observer);
                self.observer.watch_listed(K::WATCH);
                self.checks =
                    Checks::of(versions.at(page.metadata.resource_version.as_deref()).into(), self.schedule.lists());
                return page.metadata.resource_version.ok_or(WatchError::NoVersion);
            }
        }
    }
}
