//! Jobs beyond the limit of their namespace: takes them up once there is room, and reports those for which there is none.
//!
//! ```text
//!  index: a namespace in which something was left out ──► list its Jobs, page by page ─┬─ room? ──► index
//!                                   ▲                                                  ├─ runs ───► reported once, and waits
//!                                   └───────── every minute, until all are followed ◄──┴─ ended ──► reported, finalizer released
//! ```
//!
//! Nothing is remembered of single Jobs, so that their number does not matter. [`jobwarden_core::unfollowed`] decides.

use std::{collections::HashMap, time::Duration};

use jobwarden_common::names::{label, label_value};
use jobwarden_core::{
    health::SignalHealth,
    reconcile::Mode,
    unfollowed::{Unfollowed as Decision, decide},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{batch::v1::Job, core::v1::Pod},
};
use kube::{Api, Client, Resource, api::ListParams};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::{
    execute::{Ended, Executor, Waiting},
    metrics::{Metrics, NamespaceLabels},
    observer::Observer,
    watch::{
        page::{self, PageSize},
        request::LIST_TIMEOUT,
    },
};

/// How often it is looked for namespaces in which something was left out.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long such a namespace is left alone after it was listed.
const AGAIN: Duration = Duration::from_mins(1);
/// How many Jobs that have ended are reported, and released, after one list; the rest after the next.
const MOST: usize = 1000;
/// How many Jobs that wait are named.
const NAMED: usize = 50;

/// Follows what was left out.
pub struct Unfollowed {
    client: Client,
    observer: Observer,
    executor: Executor,
    mode: Mode,
    metrics: Metrics,
}

/// What is known of a namespace in which something was left out.
#[derive(Clone, Copy, Debug)]
struct Listed {
    /// When it is listed again.
    next: Instant,
    /// Those of its Jobs that are not followed were reported.
    reported: bool,
}

/// What a list shows.
#[derive(Debug, Default)]
struct Found {
    followed: usize,
    waiting: Waiting,
    ended: Vec<Ended>,
}

impl Unfollowed {
    /// Takes up Jobs into `observer`, and reports others by `executor`.
    pub fn new(client: Client, observer: Observer, executor: Executor, mode: Mode, metrics: Metrics) -> Self {
        Self { client, observer, executor, mode, metrics }
    }

    /// Never returns. Only the leader may run it.
    pub async fn run(&self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known: HashMap<String, Listed> = HashMap::new();
        loop {
            ticks.tick().await;
            // While a watch is down, it is not known which namespaces are enrolled, nor what has gone.
            if self.observer.health() == SignalHealth::WatchDown {
                continue;
            }
            let beyond: Vec<String> = self.observer.with(|index, _| index.beyond_limit().map(str::to_owned).collect());
            known.retain(|namespace, listed| beyond.contains(namespace) || Instant::now() < listed.next);
            for namespace in beyond {
                let before = known.get(&namespace).copied();
                if before.is_some_and(|before| Instant::now() < before.next) {
                    continue;
                }
                match self.follow(&namespace, before.is_some_and(|before| before.reported)).await {
                    Ok(listed) => drop(known.insert(namespace, listed)),
                    Err(error) => {
                        self.observer.with(|index, _| index.left_out(&namespace));
                        let error: &dyn std::error::Error = &error;
                        tracing::warn!(namespace, error, "cannot list the Jobs that are not followed; retrying");
                    }
                }
            }
        }
    }

    /// Lists a namespace, and does what follows. `reported` if its Jobs that are not followed were reported.
    async fn follow(&self, namespace: &str, reported: bool) -> kube::Result<Listed> {
        let (is_enrolled, limit) = self.observer.with(|index, _| {
            index.list_begins(namespace);
            (index.is_enrolled(namespace), index.job_limit(namespace))
        });
        let mut found = Found::default();
        self.list::<Job>(namespace, |job| self.sort(job, is_enrolled, &mut found)).await?;
        self.observer.with(|index, now| index.drop_waiting(namespace, now));
        self.list::<Pod>(namespace, |pod| self.observer.take_up_pod(pod)).await?;

        let Found { followed, waiting, ended } = &found;
        let (waits, ends) = (waiting.count, ended.len());
        tracing::info!(namespace, limit, followed, waits, ends, "listed a namespace in which Jobs were not followed");
        let new = if reported { Waiting::default() } else { waiting.clone() };
        let is_done = self.executor.report_unfollowed(namespace, limit, &new, ended).await;
        let labels = NamespaceLabels { namespace: namespace.to_owned() };
        if waiting.count == 0 {
            self.metrics.unfollowed.remove(&labels);
        } else {
            self.metrics.unfollowed.get_or_create(&labels).set(i64::try_from(waiting.count).unwrap_or(i64::MAX));
        }
        let next = Instant::now() + if is_done && ended.len() == MOST { INTERVAL } else { AGAIN };
        Ok(Listed { next, reported: waiting.count > 0 && (reported || is_done) })
    }

    /// Takes up a Job, or sorts it by what has to be done about it.
    fn sort(&self, job: &Job, is_enrolled: bool, found: &mut Found) {
        let Some(facts) = self.observer.take_up(job) else {
            found.followed += 1;
            return;
        };
        let identity = facts.identity.clone();
        let is_enrolled = is_enrolled && self.observer.with(|index, _| index.enrols(&facts));
        match decide(facts, is_enrolled) {
            Decision::LeftAlone | Decision::Reported => {}
            Decision::Waits => {
                found.waiting.count += 1;
                if found.waiting.some.len() < NAMED {
                    found.waiting.some.push(identity);
                }
            }
            Decision::Release(_) if self.mode == Mode::ObserveOnly || found.ended.len() == MOST => {}
            Decision::Release(outcome) => found.ended.push(Ended { identity, outcome }),
        }
    }

    /// Passes all that is labelled to `take`, page by page.
    async fn list<K>(&self, namespace: &str, mut take: impl FnMut(&K)) -> kube::Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        let mut params = ListParams::default().labels(&format!("{}={}", label::ENROLLED, label_value::TRUE));
        let mut size = PageSize::default();
        loop {
            self.observer.with(|index, _| index.page_requested());
            let page = timeout(LIST_TIMEOUT, page::objects(&api, &mut params, &mut size)).await;
            if let Ok(Ok(page)) = &page {
                page.items.iter().for_each(&mut take);
            }
            self.observer.with(|index, _| index.page_done());
            let page = page.map_err(|_| kube::Error::Service("the list timed out".into()))??;
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
