//! Turns by namespace: however much one namespace has to be done, the next of another one waits for at most one of each.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
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

/// Which of `waiting`, given by their namespaces and the most urgent first, start next: at most `room`, and of no namespace so many that
/// more than `most` of it run. `running` is how many of each namespace run already. The namespace of which the fewest run comes first.
pub fn start_next<'a>(
    waiting: impl IntoIterator<Item = &'a str>,
    running: &BTreeMap<String, usize>,
    room: usize,
    most: usize,
) -> Vec<usize> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_namespace: HashMap<&str, usize> = HashMap::new();
    for (index, namespace) in waiting.into_iter().enumerate() {
        let group = *by_namespace.entry(namespace).or_insert_with(|| {
            let running = running.get(namespace).copied().unwrap_or_default();
            groups.push(Group { running, waiting: VecDeque::new() });
            groups.len() - 1
        });
        groups[group].waiting.push_back(index);
    }
    let mut started = Vec::new();
    while started.len() < room {
        let free = groups.iter_mut().filter(|group| group.running < most && !group.waiting.is_empty());
        // Of those with as few, the one whose first is the most urgent.
        let Some(next) = free.min_by_key(|group| (group.running, group.waiting.front().copied())) else { break };
        started.extend(next.waiting.pop_front());
        next.running += 1;
    }
    started
}

/// What waits of one namespace.
struct Group {
    running: usize,
    waiting: VecDeque<usize>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

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

        #[test]
        fn no_namespace_runs_more_than_its_share_and_no_room_is_left_that_somebody_may_use(
            waiting in prop::collection::vec("[a-d]", 0..30),
            running in prop::collection::btree_map("[a-d]", 0_usize..4, 0..4),
            room in 0_usize..9,
            most in 1_usize..6,
        ) {
            let started = start_next(waiting.iter().map(String::as_str), &running, room, most);
            prop_assert!(started.len() <= room);
            let runs = |namespace: &str| {
                running.get(namespace).copied().unwrap_or_default()
                    + started.iter().filter(|index| waiting[**index] == namespace).count()
            };
            for (index, namespace) in waiting.iter().enumerate() {
                let before = running.get(namespace).copied().unwrap_or_default();
                prop_assert!(runs(namespace) <= most.max(before));
                let is_started = started.contains(&index);
                prop_assert!(is_started || started.len() == room || runs(namespace) >= most);
            }
        }
    }

    #[rstest]
    #[case::oldest_first(&["a", "a", "a"], &[], 2, 8, &[0, 1])]
    #[case::each_namespace_gets_one(&["a", "a", "b", "c"], &[], 3, 8, &[0, 2, 3])]
    #[case::who_runs_nothing_comes_first(&["a", "a", "b"], &[("a", 7)], 1, 8, &[2])]
    #[case::a_share_is_kept_free(&["a", "a", "a"], &[("a", 5)], 3, 6, &[0])]
    #[case::nothing_waits(&[], &[], 3, 6, &[])]
    fn the_namespace_of_which_the_fewest_run_is_next(
        #[case] waiting: &[&str],
        #[case] running: &[(&str, usize)],
        #[case] room: usize,
        #[case] most: usize,
        #[case] expected: &[usize],
    ) {
        let running = running.iter().map(|(namespace, count)| ((*namespace).to_owned(), *count)).collect();
        assert_eq!(start_next(waiting.iter().copied(), &running, room, most), expected);
    }
}
