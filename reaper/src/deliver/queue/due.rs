//! The due outcomes of one sink, and whose turn it is.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::position::Position;

/// The due outcomes by namespace. The namespace of which the fewest are in flight comes first; of those with as few, the one with the
/// oldest outcome. Within a namespace the oldest comes first.
#[derive(Clone, Debug)]
pub(super) struct Due {
    /// The most attempts of one namespace at a time.
    share: usize,
    /// Each has something due or in flight.
    namespaces: HashMap<Arc<str>, Namespace>,
    /// The namespaces that have something due, in the order of their turns.
    turns: BTreeSet<Turn>,
}

#[derive(Clone, Debug, Default)]
struct Namespace {
    in_flight: usize,
    due: BTreeSet<Position>,
}

/// The turn of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    in_flight: usize,
    oldest: Position,
    namespace: Arc<str>,
}

impl Due {
    pub(super) fn new(share: usize) -> Self {
        Self { share, namespaces: HashMap::new(), turns: BTreeSet::new() }
    }

    /// An outcome becomes due.
    pub(super) fn insert(&mut self, namespace: &Arc<str>, position: Position) {
        self.change(namespace, |namespace| namespace.due.insert(position));
    }

    /// An outcome is not due any more, and was not started.
    pub(super) fn remove(&mut self, namespace: &Arc<str>, position: &Position) {
        self.change(namespace, |namespace| namespace.due.remove(position));
    }

    /// Whether [`Self::start`] would start one.
    pub(super) fn can_start(&self) -> bool {
        self.next().is_some()
    }

    /// The next outcome, which is in flight from now on until [`Self::ended`].
    pub(super) fn start(&mut self) -> Option<(Arc<str>, Position)> {
        let Turn { oldest, namespace, .. } = self.next()?.clone();
        self.change(&namespace, |namespace| {
            namespace.due.remove(&oldest);
            namespace.in_flight += 1;
        });
        Some((namespace, oldest))
    }

    /// An attempt of the namespace ended.
    pub(super) fn ended(&mut self, namespace: &Arc<str>) {
        self.change(namespace, |namespace| namespace.in_flight = namespace.in_flight.saturating_sub(1));
    }

    fn next(&self) -> Option<&Turn> {
        // The first has the fewest in flight: if it has its share, all have.
        self.turns.first().filter(|turn| turn.in_flight < self.share)
    }

    /// Changes a namespace and its turn with it.
    fn change<T>(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Namespace) -> T) {
        let namespace = self.namespaces.entry(Arc::clone(name)).or_default();
        if let Some(turn) = namespace.turn(name) {
            self.turns.remove(&turn);
        }
        change(namespace);
        if let Some(turn) = namespace.turn(name) {
            self.turns.insert(turn);
        } else if namespace.in_flight == 0 {
            self.namespaces.remove(name);
        }
    }
}

impl Namespace {
    fn turn(&self, name: &Arc<str>) -> Option<Turn> {
        let oldest = self.due.first()?.clone();
        Some(Turn { in_flight: self.in_flight, oldest, namespace: Arc::clone(name) })
    }
}
