//! The slots of a server: how many connections there are, of which source, and which one makes room for a newcomer.
//!
//! A server that refused connections when its slots are used up would be closed to everybody by a client that holds them. So the
//! newcomer gets in, and an idle connection is closed: [`victim`] says which.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use super::{activity::Activity, limits::Limits, source::Source};

/// Slots above the limit for connections of [`Source::Own`] when every connection has a request in flight.
const RESERVED: usize = 4;

/// Newcomers may hold one of this many slots before the oldest of them makes room, rather than a connection that has proven itself.
const NEWCOMER_SHARE: usize = 4;

/// The slots of one server. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    sources: HashMap<Source, Entry>,
    open: usize,
    next: u64,
}

/// One source, while it has connections or failures that count.
#[derive(Debug)]
struct Entry {
    connections: Vec<(u64, Activity)>,
    newcomers: Arc<Semaphore>,
}

/// One connection's slot, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    source: Source,
    id: u64,
    activity: Activity,
}

/// There is no place left among the newcomers of a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoPlace;

/// What became of a connection that wants a slot.
#[derive(Debug)]
pub(super) struct Admitted {
    /// Its slot; `None` if every connection has a request in flight.
    pub(super) slot: Option<Slot>,
    /// Whether another connection was closed for it.
    pub(super) evicted: bool,
}

impl Slots {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared { limits, table: Mutex::default() }))
    }

    /// A slot for a connection from `source`.
    pub(super) fn admit(&self, source: Source, activity: Activity) -> Admitted {
        let Limits { max_connections, source_connections, source_newcomers, .. } = self.0.limits;
        let mut table = self.table();
        let mut evicted = false;
        let of_source = table.sources.get(&source).map_or(0, |entry| entry.connections.len());
        if source != Source::Own && of_source >= source_connections {
            evicted = table.evict(Some(source), max_connections);
        }
        if table.open >= max_connections && !evicted {
            evicted = table.evict(None, max_connections);
            let reserved = source == Source::Own && table.open < max_connections + RESERVED;
            if !evicted && !reserved {
                return Admitted { slot: None, evicted };
            }
        }
        let id = table.next;
        table.next += 1;
        table.open += 1;
        let entry = table.sources.entry(source).or_insert_with(|| Entry {
            connections: Vec::with_capacity(1),
            newcomers: Arc::new(Semaphore::new(source_newcomers)),
        });
        entry.connections.push((id, activity.clone()));
        drop(table);
        Admitted { slot: Some(Slot { slots: self.clone(), source, id, activity }), evicted }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in this module panics while it holds the lock.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Closes one idle connection, of `source` or of any; false if there is none.
    fn evict(&mut self, source: Option<Source>, max_connections: usize) -> bool {
        let found = {
            let entries = self.sources.iter().filter(|(of, _)| source.is_none_or(|source| source == **of));
            let candidates = entries.flat_map(|(source, entry)| {
                let newcomers = entry.connections.iter().filter(|(_, activity)| !activity.is_proven()).count();
                let connections = entry.connections.len();
                entry.connections.iter().map(move |(id, activity)| Candidate {
                    key: (*source, *id),
                    own: *source == Source::Own,
                    proven: activity.is_proven(),
                    busy: activity.is_busy(),
                    since: activity.idle_since(),
                    connections,
                    newcomers,
                })
            });
            victim(candidates, max_connections)
        };
        let Some((source, id)) = found else { return false };
        if let Some(activity) = self.remove(source, id) {
            activity.evict();
        }
        true
    }

    fn remove(&mut self, source: Source, id: u64) -> Option<Activity> {
        let entry = self.sources.get_mut(&source)?;
        let place = entry.connections.iter().position(|(of, _)| *of == id)?;
        let (_, activity) = entry.connections.swap_remove(place);
        self.open -= 1;
        Some(activity)
    }

    /// Forgets a source of which nothing is left that counts.
    fn prune(&mut self, source: Source, newcomers: usize) {
        if let Some(entry) = self.sources.get(&source)
            && entry.connections.is_empty()
            && entry.newcomers.available_permits() >= newcomers
        {
            self.sources.remove(&source);
        }
    }
}

impl Slot {
    /// Takes a place among the newcomers of the source, waiting for it if need be. Own connections need none.
    pub(super) async fn newcomer(&self, within: Duration) -> Result<Option<OwnedSemaphorePermit>, NoPlace> {
        if self.source == Source::Own {
            return Ok(None);
        }
        let newcomers = self.slots.table().sources.get(&self.source).map(|entry| Arc::clone(&entry.newcomers));
        let place = timeout(within, newcomers.ok_or(NoPlace)?.acquire_owned()).await;
        place.map_err(|_| NoPlace)?.map(Some).map_err(|_| NoPlace)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Self { slots, source, id, activity } = self;
        let newcomers = slots.0.limits.source_newcomers;
        // It ended as a newcomer: its place stays taken for a while, although the connection is gone. Without a runtime the process ends.
        if let Some(place) = activity.take_newcomer()
            && activity.has_failed()
            && let Ok(runtime) = Handle::try_current()
        {
            let (slots, source) = (slots.clone(), *source);
            runtime.spawn(async move {
                sleep(slots.0.limits.penalty).await;
                drop(place);
                slots.table().prune(source, newcomers);
            });
        }
        let mut table = slots.table();
        drop(table.remove(*source, *id));
        table.prune(*source, newcomers);
    }
}

/// What matters of a connection that may be closed for another one.
#[derive(Clone, Copy, Debug)]
struct Candidate<K> {
    key: K,
    /// Its source is [`Source::Own`].
    own: bool,
    /// It has had a successful response.
    proven: bool,
    /// It has a request in flight.
    busy: bool,
    /// When its last request ended or, without any, when it was accepted.
    since: tokio::time::Instant,
    /// All connections of its source.
    connections: usize,
    /// Those of its source that have had no successful response.
    newcomers: usize,
}

/// The connection to close: never one with a request in flight, one of our own last. Newcomers make room for each other if they hold more
/// than their share of all slots: the oldest of the source with most of them. Otherwise the source with most connections makes room:
/// its oldest newcomer if it has one, else its oldest connection.
fn victim<K: Copy>(candidates: impl Iterator<Item = Candidate<K>>, max_connections: usize) -> Option<K> {
    let candidates: Vec<_> = candidates.collect();
    let newcomers = candidates.iter().filter(|one| !one.proven).count();
    let idle = || candidates.iter().filter(|one| !one.busy);
    let oldest_newcomer = || {
        let newcomers = idle().filter(|one| !one.proven);
        newcomers.min_by_key(|one| (one.own, Reverse(one.newcomers), one.since))
    };
    let oldest = || idle().min_by_key(|one| (one.own, Reverse(one.connections), one.proven, one.since));
    let found = if newcomers > max_connections / NEWCOMER_SHARE { oldest_newcomer().or_else(oldest) } else { oldest() };
    found.map(|one| one.key)
}

#[cfg(test)]
mod tests;
