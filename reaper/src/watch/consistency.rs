//! Checks now and then that a watch delivers what the API server holds: after etcd was restored from a backup it may not.
//!
//! What differs beyond a watch that is a little late is decided in [`jobwarden_core::consistency`]. The two checks cost little:
//!
//! | check | when | requests for each watch |
//! |---|---|---|
//! | version | a minute after the last, and before a watch resumes after a failure | one, for one object |
//! | objects | ten minutes after the last list, or as [`Schedule`](super::Schedule) says; half a minute later if objects differ | one for each 500 objects, metadata only |

use std::time::Duration;

use jobwarden_core::consistency::{Comparison, Listed, Received};
use kube::{Api, api::ListParams};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    objects::Watched,
    page::{self, PageSize},
    request::{LIST_TIMEOUT, TIMEOUT, WatchError},
};

/// How often the version is checked.
const VERSION_INTERVAL: Duration = Duration::from_mins(1);

/// When objects that differ are compared again: any watch that works has delivered their changes by then.
const RECHECK_AFTER: Duration = Duration::from_secs(30);

/// What shows that the watch has missed events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inconsistency {
    /// The API server's resourceVersion is lower than one that it has delivered.
    Version,
    /// This many objects are not as the watch has delivered them.
    Objects(usize),
}

impl Inconsistency {
    /// The word on metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Objects(_) => "objects",
        }
    }

    /// The sentence in logs.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Version => {
                "the API server's resourceVersion is lower than before, as after etcd was restored from a backup; listing everything again"
            }
            Self::Objects(_) => {
                "the API server holds other objects than the watch has delivered, as after etcd was restored from a backup; listing everything again"
            }
        }
    }

    /// How many objects differ, if they were compared.
    pub(super) fn objects(self) -> Option<usize> {
        match self {
            Self::Version => None,
            Self::Objects(objects) => Some(objects),
        }
    }
}

/// The checks of one watch.
pub(super) struct Checks {
    /// What the watch has delivered.
    pub(super) received: Received,
    /// When the version is checked next.
    version_due: Instant,
    /// How often the objects are listed and compared.
    objects_every: Option<Duration>,
    /// When the objects are listed next; `None` for never.
    objects_due: Option<Instant>,
    /// The list in progress. The watch goes on meanwhile.
    listing: JoinSet<Result<Listed, WatchError>>,
}

impl Checks {
    pub(super) fn new(objects_every: Option<Duration>) -> Self {
        Self::of(Received::default(), objects_every)
    }

    /// The watch starts from a list.
    pub(super) fn of(received: Received, objects_every: Option<Duration>) -> Self {
        let now = Instant::now();
        let (version_due, objects_due) = (now + VERSION_INTERVAL, objects_every.map(|every| now + every));
        Self { received, version_due, objects_every, objects_due, listing: JoinSet::new() }
    }

    /// The watch has failed, so the API server may be another one when it is back.
    pub(super) fn watch_failed(&mut self) {
        self.version_due = Instant::now();
    }

    /// Does what is due, between two watches. A check that fails delays no watch: it is made again before the next one.
    pub(super) async fn run<K: Watched>(&mut self, api: &Api<K>, labels: Option<&String>) -> Option<Inconsistency> {
        if self.goes_back(api).await {
            return Some(Inconsistency::Version);
        }
        self.compare(api, labels)
    }

    /// Whether the version of a consistent read is lower than what was delivered before. The read asks for one object without a
    /// selector: with one, the API server would have to search for an object that matches.
    async fn goes_back<K: Watched>(&mut self, api: &Api<K>) -> bool {
        if Instant::now() < self.version_due {
            return false;
        }
        let one = ListParams { limit: Some(1), ..ListParams::default() };
        match timeout(TIMEOUT, api.list_metadata(&one)).await {
            Ok(Ok(list)) => {
                self.version_due = Instant::now() + VERSION_INTERVAL;
                self.received.goes_back(list.metadata.resource_version.as_deref())
            }
            Ok(Err(error)) => {
                log_failure::<K>(&error);
                false
            }
            Err(error) => {
                log_failure::<K>(&error);
                false
            }
        }
    }

    /// Takes the list in progress if it is complete, and compares it; or starts one if it is due.
    fn compare<K: Watched>(&mut self, api: &Api<K>, labels: Option<&String>) -> Option<Inconsistency> {
        if let Some(listed) = self.listing.try_join_next() {
            let comparison = match listed {
                Ok(Ok(listed)) => self.received.compare(&listed),
                Ok(Err(error)) => {
                    log_failure::<K>(&error);
                    Comparison::Same
                }
                Err(error) => {
                    log_failure::<K>(&error);
                    Comparison::Same
                }
            };
            let pause = match comparison {
                Comparison::Differs(objects) => return Some(Inconsistency::Objects(objects)),
                Comparison::Unclear(_) => Some(RECHECK_AFTER),
                Comparison::Same => self.objects_every,
            };
            self.objects_due = pause.map(|pause| Instant::now() + pause);
        } else if self.listing.is_empty() && self.objects_due.is_some_and(|due| Instant::now() >= due) {
            self.listing.spawn(list(api.clone(), labels.cloned()));
        }
        None
    }
}

/// Lists the keys and versions of all objects.
async fn list<K: Watched>(api: Api<K>, labels: Option<String>) -> Result<Listed, WatchError> {
    let mut params = ListParams { label_selector: labels, ..ListParams::default() };
    let mut size = PageSize::default();
    let mut listed = Listed::default();
    loop {
        let page = timeout(LIST_TIMEOUT, page::metadata(&api, &mut params, &mut size)).await;
        let page = page.map_err(|_| WatchError::ListTimeout)?.map_err(WatchError::List)?;
        for object in &page.items {
            if let Some(key) = K::key(&object.metadata) {
                listed.add(&key, object.metadata.resource_version.as_deref());
            }
        }
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(listed.at(page.metadata.resource_version.as_deref()));
        }
    }
}

fn log_failure<K: Watched>(error: &(dyn std::error::Error + 'static)) {
    let watch = K::WATCH.as_str();
    tracing::debug!(watch, error, "cannot check the watch; trying again later");
}
