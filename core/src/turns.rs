//! Turns by namespace: however much one namespace has to be done, the next of another one waits for at most one of each.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// A queue in which the namespaces take turns. Within a namespace, what came first goes first.
#[derive(Debug)]
pub struct Turns<T> {
    /// None is empty.
    queues: HashMap<Arc<str>, VecDeque<T>>,
    /// The namespaces with a queue, each once; the first is served next.
    order: VecDeque<Arc<str>>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { queues: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Turns<T> {
    /// Adds `item` as the last of its namespace.
    pub fn push(&mut self, namespace: &str, item: T) {
        if let Some(queue) = self.queues.get_mut(namespace) {
            return queue.push_back(item);
        }
        let namespace: Arc<str> = namespace.into();
        self.order.push_back(Arc::clone(&namespace));
        self.queues.insert(namespace, VecDeque::from([item]));
    }

    /// Takes the first of the namespace whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let namespace = self.order.pop_front()?;
        let queue = self.queues.get_mut(&namespace)?;
        let item = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&namespace);
        } else {
            self.order.push_back(namespace);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_of_a_namespace_waits_for_one_of_each_other() {
        let mut turns = Turns::default();
        for item in 0..1000 {
            turns.push("flood", ("flood", item));
        }
        assert_eq!(turns.pop(), Some(("flood", 0)));
        turns.push("quiet", ("quiet", 0));
        turns.push("other", ("other", 0));
        let next: Vec<_> = std::iter::from_fn(|| turns.pop()).take(4).collect();
        assert_eq!(next, [("flood", 1), ("quiet", 0), ("other", 0), ("flood", 2)]);
    }

    proptest! {
        #[test]
        fn everything_is_taken_once_and_in_order_within_its_namespace(items in prop::collection::vec("[a-c]", 0..50)) {
            let mut turns = Turns::default();
            for (number, namespace) in items.iter().enumerate() {
                turns.push(namespace, (namespace.clone(), number));
            }
            let taken: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
            prop_assert_eq!(taken.len(), items.len());
            prop_assert!(turns.queues.is_empty() && turns.order.is_empty());
            for namespace in ["a", "b", "c"] {
                prop_assert!(taken.iter().filter(|(of, _)| of == namespace).is_sorted());
            }
        }
    }
}
