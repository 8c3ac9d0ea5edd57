//! The slots of a server: how many connections there are, of which source, and which one makes room for a newcomer.
//!
//! A server that refused connections when its slots are used up would be closed to everybody by a client that holds them. So the
//! newcomer gets in, and an idle connection is closed: [`victims`] says which.

mod victims;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};

use self::victims::{Candidate, victims};
use super::{activity::Activity, limits::Limits, source::Source};

/// Slots above the limit for connections of [`Source::Own`] when every connection has a request in flight.
const RESERVED: usize = 4;

/// When slots run out, the connections are looked through once for this part of them, which then make room one after the other: thousands of
/// newcomers must not each look through tens of thousands of connections.
const PLANNED_PART: usize = 32;
/// For how long that plan is followed. Also for how long it is believed that every connection has a request in flight.
const PLANNED_FOR: Duration = Duration::from_millis(200);

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
    /// The connections that make room next, the first one last; and when they were chosen.
    planned: Vec<Candidate<(Source, u64)>>,
    planned_at: Option<Instant>,
    /// There was none to choose.
    planned_none: bool,
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
            evicted = table.evict_of(source, max_connections);
        }
        if table.open >= max_connections && !evicted {
            evicted = table.evict(max_connections);
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
    /// Closes one idle connection of `source`; false if there is none.
    fn evict_of(&mut self, source: Source, max_connections: usize) -> bool {
        let entry = self.sources.get_key_value(&source);
        let found = victims(entry.into_iter().flat_map(candidates), max_connections, 1);
        found.first().is_some_and(|found| self.close(found.key))
    }

    /// Closes one idle connection of any source; false if there is none.
    fn evict(&mut self, max_connections: usize) -> bool {
        let now = Instant::now();
        let is_recent = self.planned_at.is_some_and(|at| now.duration_since(at) < PLANNED_FOR);
        if is_recent && self.evict_planned() {
            return true;
        }
        // None was idle a moment ago, or all of the plan have been in use since.
        if is_recent && self.planned_none {
            return false;
        }
        self.planned = victims(self.sources.iter().flat_map(candidates), max_connections, 1 + self.open / PLANNED_PART);
        self.planned.reverse();
        (self.planned_at, self.planned_none) = (Some(now), self.planned.is_empty());
        self.evict_planned()
    }

    /// Closes the next connection of the plan that is still as it was.
    fn evict_planned(&mut self) -> bool {
        while let Some(Candidate { key: (source, id), since, proven, .. }) = self.planned.pop() {
            let entry = self.sources.get(&source).and_then(|entry| entry.connections.iter().find(|(of, _)| *of == id));
            let is_same = |activity: &Activity| {
                !activity.is_busy() && activity.idle_since() == since && activity.is_proven() == proven
            };
            if entry.is_some_and(|(_, activity)| is_same(activity)) {
                return self.close((source, id));
            }
        }
        false
    }

    fn close(&mut self, (source, id): (Source, u64)) -> bool {
        self.remove(source, id).is_some_and(|activity| {
            activity.evict();
            true
        })
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

/// The connections of a source.
fn candidates<'a>(
    (source, entry): (&'a Source, &'a Entry),
) -> impl Iterator<Item = Candidate<(Source, u64)>> + use<'a> {
    let newcomers = entry.connections.iter().filter(|(_, activity)| !activity.is_proven()).count();
    let (source, connections) = (*source, entry.connections.len());
    entry.connections.iter().map(move |(id, activity)| Candidate {
        key: (source, *id),
        group: source,
        own: source == Source::Own,
        proven: activity.is_proven(),
        busy: activity.is_busy(),
        since: activity.idle_since(),
        connections,
        newcomers,
    })
}

#[cfg(test)]
mod tests;
