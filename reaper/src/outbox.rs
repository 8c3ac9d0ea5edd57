//! The outbox: a cache of the outcomes in jobwarden's own namespace, kept current by a watch.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt as _;
use jiff::Timestamp;
use jobwarden_common::identity::JobUid;
use jobwarden_core::outcome::OutcomeName;
use jobwarden_serve::shutdown::Shutdown;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::sync::{mpsc, watch};

pub(crate) use self::{
    body::{MAX_NOTE_BYTES, encoded_bytes, shorten},
    share::{Admission, Due},
};
pub use self::{
    body::{cloud_event, fitted},
    object::{JobOutcome, JobOutcomeSpec, JobOutcomeStatus, Recipients, SinkState, SinkStatus},
};

use self::share::Shares;

mod admission;
mod body;
pub(crate) mod object;
mod share;

/// The cached state of one outcome. Thousands of settled ones are kept, so it has no more than is needed of those, and texts are shared.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The Job of the outcome.
    pub job: JobUid,
    /// The namespace of the Job.
    namespace: Arc<str>,
    /// When the outcome was recorded.
    pub created_at: Timestamp,
    /// The delivery status for each sink.
    pub sinks: Arc<[SinkStatus]>,
    /// The size of the object without its status, as JSON.
    pub bytes: usize,
    /// The whole object; `None` once the outcome is settled, because bodies are large and most outcomes are settled.
    pub outcome: Option<Arc<JobOutcome>>,
    /// `metadata.resourceVersion`, which grows with every write of an object (KEP-5504); 0 if it is unknown.
    pub version: u64,
}

impl Entry {
    fn of(mut outcome: JobOutcome, namespace: Arc<str>) -> Self {
        let sinks = outcome.sinks();
        let settled = sinks.iter().all(|sink| sink.state != SinkState::Pending);
        outcome.metadata.managed_fields = None;
        let version = outcome.metadata.resource_version.as_deref().and_then(|version| version.parse().ok());
        Self {
            version: version.unwrap_or_default(),
            job: outcome.spec.job_uid.clone(),
            namespace,
            created_at: outcome.spec.created_at,
            sinks: sinks.into(),
            bytes: encoded_bytes(&outcome.spec),
            outcome: (!settled).then(|| Arc::new(outcome)),
        }
    }

    /// The namespace of the Job.
    pub fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }

    /// Whether no delivery is pending.
    pub fn settled(&self) -> bool {
        self.outcome.is_none()
    }

    /// Whether a delivery was given up. The outcome is then kept longer, so that an operator can deliver it again.
    pub fn is_dead(&self) -> bool {
        self.sinks.iter().any(|sink| sink.state == SinkState::Dead)
    }
}

/// The cached outcomes. Clones share the same cache.
#[derive(Clone, Debug)]
pub struct Outbox {
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<OutcomeName, Entry>,
    /// The names of the outcomes of each Job, mostly one.
    of_job: HashMap<JobUid, Vec<OutcomeName>>,
    /// Jobs whose outcomes have changed since the last [`Outbox::take_changed`].
    changed: BTreeSet<JobUid>,
    shares: Shares,
    /// Where the names of outcomes that change are sent.
    feeds: Vec<mpsc::UnboundedSender<OutcomeName>>,
    /// The names seen so far by a list in progress.
    listed: Option<BTreeSet<OutcomeName>>,
    synced: bool,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { state: Arc::default(), version: watch::channel(0).0 }
    }
}

impl Outbox {
    /// An empty outbox; [`Self::follow`] fills it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches the outcomes in `namespace` until the shutdown.
    pub async fn follow(&self, client: Client, namespace: &str, shutdown: Shutdown) {
        let outcomes: Api<JobOutcome> = Api::namespaced(client, namespace);
        let mut events = pin!(watcher(outcomes, watcher::Config::default()).default_backoff());
        loop {
            let event = tokio::select! {
                () = shutdown.requested() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(event)) => self.apply(event),
                Some(Err(error)) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "cannot watch JobOutcomes; retrying with backoff");
                }
                // The stream of `watcher` never ends.
                None => return shutdown.requested().await,
            }
        }
    }

    pub(crate) fn apply(&self, event: watcher::Event<JobOutcome>) {
        {
            let mut state = self.state();
            match event {
                watcher::Event::Init => state.listed = Some(BTreeSet::new()),
                watcher::Event::InitApply(outcome) => {
                    let name = outcome.outcome_name();
                    state.put(outcome);
                    if let Some(listed) = &mut state.listed {
                        listed.insert(name);
                    }
                }
                watcher::Event::InitDone => {
                    let listed = state.listed.take().unwrap_or_default();
                    let deleted: Vec<_> = state.entries.keys().filter(|name| !listed.contains(name)).cloned().collect();
                    for name in deleted {
                        state.remove(&name);
                    }
                    state.synced = true;
                }
                watcher::Event::Apply(outcome) => state.put(outcome),
                watcher::Event::Delete(outcome) => state.remove(&outcome.outcome_name()),
            }
        }
        self.version.send_modify(|version| *version += 1);
    }

    /// Adds an outcome that was just written, before the watch delivers it.
    pub fn note(&self, outcome: JobOutcome) {
        {
            let mut state = self.state();
            let name = outcome.outcome_name();
            if let Some(listed) = &mut state.listed {
                listed.insert(name);
            }
            state.put(outcome);
        }
        self.version.send_modify(|version| *version += 1);
    }

    /// Called before the outcomes are listed again because etcd was probably restored from a backup: what is listed then replaces what
    /// is cached, however old it is.
    pub fn forget_versions(&self) {
        self.state().entries.values_mut().for_each(|entry| entry.version = 0);
    }

    /// Whether the outcomes have been listed once. Until then, an outcome that is not cached may exist.
    pub fn synced(&self) -> bool {
        self.state().synced
    }

    /// A receiver that is notified of every change from now on.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The names of the outcomes with a pending delivery, and from then on of each outcome that changes or is deleted.
    pub(crate) fn feed(&self) -> mpsc::UnboundedReceiver<OutcomeName> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.state();
        for (name, _) in state.entries.iter().filter(|(_, entry)| !entry.settled()) {
            sender.send(name.clone()).expect("the receiver is still here");
        }
        state.feeds.push(sender);
        receiver
    }

    /// The Jobs whose outcomes have changed since the last call.
    pub fn take_changed(&self) -> BTreeSet<JobUid> {
        std::mem::take(&mut self.state().changed)
    }

    /// The outcomes of a Job, those that are part of a coalesced one among them, and whether each is settled.
    pub fn of_job(&self, job: &JobUid) -> BTreeMap<OutcomeName, bool> {
        let state = self.state();
        let names = state.of_job.get(job).into_iter().flatten();
        let recorded = names.filter_map(|name| Some((name.clone(), state.entries.get(name)?.settled())));
        // An outcome that was deleted after its retention was settled.
        let settled = |coalesced: &OutcomeName| state.entries.get(coalesced).is_none_or(Entry::settled);
        let covered = state.shares.covered(job).map(|(name, coalesced)| (name.clone(), settled(coalesced)));
        covered.chain(recorded).collect()
    }

    /// The outcome with this name.
    pub fn get(&self, name: &OutcomeName) -> Option<Entry> {
        self.state().entries.get(name).cloned()
    }

    /// Maps and filters all outcomes in the order of their names.
    pub fn select<T>(&self, mut select: impl FnMut(&OutcomeName, &Entry) -> Option<T>) -> Vec<T> {
        self.state().entries.iter().filter_map(|(name, entry)| select(name, entry)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No method panics while the maps are inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, outcome: JobOutcome) {
        let name = outcome.outcome_name();
        let namespace = self.shares.namespace(&outcome.spec.namespace);
        let entry = Entry::of(outcome, namespace);
        if let Some(known) = self.entries.get(&name) {
            if known.created_at != entry.created_at {
                // Another object of the same name: the outcome was deleted and recorded again.
                self.remove(&name);
            } else if known.version > entry.version {
                // Our own writes and the watch may arrive in either order.
                return;
            }
        }
        self.changed.insert(entry.job.clone());
        self.announce(&name);
        if self.entries.insert(name.clone(), entry.clone()).is_none() {
            self.shares.recorded(&entry.namespace, entry.created_at, &name);
            self.of_job.entry(entry.job).or_insert_with(|| Vec::with_capacity(1)).push(name);
        }
    }

    fn remove(&mut self, name: &OutcomeName) {
        let Some(entry) = self.entries.remove(name) else { return };
        self.announce(name);
        self.shares.removed(&entry.namespace, entry.created_at, name);
        if let Some(names) = self.of_job.get_mut(&entry.job) {
            names.retain(|known| known != name);
            if names.is_empty() {
                self.of_job.remove(&entry.job);
            }
        }
        self.changed.insert(entry.job);
    }

    /// Sends the name of an outcome that changes to all feeds, and drops those that are not read any more.
    fn announce(&mut self, name: &OutcomeName) {
        self.feeds.retain(|feed| feed.send(name.clone()).is_ok());
    }
}
