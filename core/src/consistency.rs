//! Whether what a watch has delivered is what the API server holds.
//!
//! After etcd was restored from a backup, the history that a watch has followed no longer exists. A watch from a resourceVersion that
//! lies in the future is not refused: it delivers nothing until the new history has reached that version, and never what happened
//! before. Two things give the difference away. Both are computed here, from lists that the reaper makes now and then:
//!
//! - A consistent read has a resourceVersion that is not lower than any that was delivered before. If it is lower, the history is
//!   another one ([`Received::goes_back`]).
//! - Once the new history has overtaken the old one, only the objects show it: those listed, and their resourceVersions, are not
//!   those that the watch has delivered ([`Received::compare`]).
//!
//! resourceVersions of one kind are decimal numbers that can be compared (KEP-5504). Where they are not, nothing is concluded.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash},
};

/// What a watch has delivered: the newest version, and the version of each object that exists.
///
/// Keys are kept as hashes of 64 bits, because there are as many as objects. If two were equal, the objects would be listed once more.
#[derive(Clone, Debug, Default)]
pub struct Received {
    newest: u64,
    objects: HashMap<u64, u64>,
    /// The objects that differed in the last list, with the version that it showed, and about which nothing was delivered since.
    suspects: HashMap<u64, Option<u64>>,
}

/// A list of all objects.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Of the list.
    version: u64,
    objects: HashMap<u64, u64>,
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The watch has delivered what was listed.
    Same,
    /// This many objects differ, which may be because the watch has not delivered the changes yet. Compare again soon.
    Unclear(usize),
    /// This many objects differ in two lists in a row: their changes are not going to be delivered.
    Differs(usize),
}

impl Listed {
    /// Adds an object.
    pub fn add(&mut self, key: &impl Hash, version: Option<&str>) {
        self.objects.insert(hash(key), number(version).unwrap_or_default());
    }

    /// The list is complete; `version` is its own.
    #[must_use]
    pub fn at(self, version: Option<&str>) -> Self {
        Self { version: number(version).unwrap_or_default(), ..self }
    }
}

impl From<Listed> for Received {
    /// A watch that starts from a list.
    fn from(listed: Listed) -> Self {
        Self { newest: listed.version, objects: listed.objects, suspects: HashMap::new() }
    }
}

impl Received {
    /// An object was created or changed.
    pub fn apply(&mut self, key: &impl Hash, version: Option<&str>) {
        let key = hash(key);
        self.suspects.remove(&key);
        self.objects.insert(key, number(version).unwrap_or_default());
        self.progress(version);
    }

    /// An object was deleted.
    pub fn delete(&mut self, key: &impl Hash, version: Option<&str>) {
        let key = hash(key);
        self.suspects.remove(&key);
        self.objects.remove(&key);
        self.progress(version);
    }

    /// Everything up to this version was delivered.
    pub fn progress(&mut self, version: Option<&str>) {
        self.newest = self.newest.max(number(version).unwrap_or_default());
    }

    /// Whether the history has another past than the one that was delivered: a consistent read that began afterwards has this version,
    /// which is lower than the newest that was delivered.
    pub fn goes_back(&self, version: Option<&str>) -> bool {
        number(version).is_some_and(|version| version < self.newest)
    }

    /// Compares with a list that began after the last comparison, and ended while the watch went on. The watch may be behind the list or
    /// ahead of it, so an object differs only if it does so in two lists, and the watch has delivered nothing about it in between.
    pub fn compare(&mut self, list: &Listed) -> Comparison {
        let found: HashMap<_, _> = self.differences(list).collect();
        let lasting = found.iter().filter(|(key, listed)| self.is_lasting(**key, **listed)).count();
        self.suspects = found;
        match (lasting, self.suspects.len()) {
            (0, 0) => Comparison::Same,
            (0, unclear) => Comparison::Unclear(unclear),
            (lasting, _) => Comparison::Differs(lasting),
        }
    }

    /// The objects that differ, with the version that the list shows.
    fn differences<'a>(&'a self, list: &'a Listed) -> impl Iterator<Item = (u64, Option<u64>)> + 'a {
        // What the watch has delivered after the list is newer than what was listed.
        let is_older = |known: u64| known <= list.version;
        let changed = list.objects.iter().filter(move |(key, listed)| {
            self.objects.get(key).is_none_or(|known| known != *listed && is_older(*known))
        });
        let unlisted =
            self.objects.iter().filter(move |(key, known)| !list.objects.contains_key(key) && is_older(**known));
        changed.map(|(key, listed)| (*key, Some(*listed))).chain(unlisted.map(|(key, _)| (*key, None)))
    }

    /// Whether an object that differs did so in the last list as well.
    fn is_lasting(&self, key: u64, listed: Option<u64>) -> bool {
        let before = self.suspects.get(&key);
        // An object that the watch does not know was perhaps deleted after the last list, and created again since.
        before.is_some_and(|before| self.objects.contains_key(&key) || *before == listed)
    }
}

fn number(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}

fn hash(key: &impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::new().hash_one(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn listed(version: u64, objects: &[(&str, u64)]) -> Listed {
        let mut listed = Listed::default();
        for (key, version) in objects {
            listed.add(key, Some(&version.to_string()));
        }
        listed.at(Some(&version.to_string()))
    }

    fn received(version: u64, objects: &[(&str, u64)]) -> Received {
        Received::from(listed(version, objects))
    }

    #[rstest]
    #[case::the_same(Some("20"), false)]
    #[case::newer(Some("21"), false)]
    #[case::older(Some("19"), true)]
    #[case::no_version(None, false)]
    #[case::not_a_number(Some("a3"), false)]
    fn a_read_with_an_older_version_shows_another_history(#[case] version: Option<&str>, #[case] goes_back: bool) {
        let mut received = received(7, &[]);
        received.apply(&"a", Some("20"));
        received.delete(&"b", Some("12"));
        assert_eq!(received.goes_back(version), goes_back);
    }

    #[test]
    fn bookmarks_count_as_delivered() {
        let mut received = received(7, &[]);
        received.progress(Some("30"));
        assert!(received.goes_back(Some("29")));
    }

    /// What the watch has delivered at the second list, and what that list shows, of the object `a`.
    #[rstest]
    #[case::unchanged(Some(3), Some(3), Comparison::Same)]
    #[case::changed_after_the_list(Some(21), Some(3), Comparison::Same)]
    #[case::created_after_the_list(Some(21), None, Comparison::Same)]
    #[case::change_not_delivered(Some(3), Some(15), Comparison::Differs(1))]
    #[case::creation_not_delivered(None, Some(15), Comparison::Differs(1))]
    #[case::deletion_not_delivered(Some(3), None, Comparison::Differs(1))]
    #[case::a_change_that_never_was(Some(15), Some(3), Comparison::Differs(1))]
    fn what_differs_in_two_lists_differs(
        #[case] known: Option<u64>,
        #[case] shown: Option<u64>,
        #[case] expected: Comparison,
    ) {
        let object = |version: Option<u64>| version.map(|version| ("a", version));
        let mut received = received(2, object(known).as_slice());
        let list = listed(20, object(shown).as_slice());
        let first = received.compare(&list);
        assert_eq!(first, if expected == Comparison::Same { Comparison::Same } else { Comparison::Unclear(1) });
        assert_eq!(received.compare(&list), expected);
    }

    #[test]
    fn a_watch_that_is_late_catches_up() {
        let mut received = received(2, &[("changed", 1), ("deleted", 2)]);
        assert_eq!(received.compare(&listed(20, &[("changed", 10), ("created", 11)])), Comparison::Unclear(3));
        received.apply(&"changed", Some("10"));
        received.apply(&"created", Some("11"));
        received.delete(&"deleted", Some("12"));
        // It is late again, but it has delivered what the first list has shown.
        assert_eq!(received.compare(&listed(30, &[("changed", 25), ("created", 11)])), Comparison::Unclear(1));
        received.apply(&"changed", Some("25"));
        assert_eq!(received.compare(&listed(30, &[("changed", 25), ("created", 11)])), Comparison::Same);
    }

    #[test]
    fn an_object_of_the_same_name_created_again_does_not_differ() {
        let mut received = received(2, &[]);
        assert_eq!(received.compare(&listed(20, &[("node", 15)])), Comparison::Unclear(1));
        received.apply(&"node", Some("15"));
        received.delete(&"node", Some("21"));
        assert_eq!(received.compare(&listed(30, &[("node", 25)])), Comparison::Unclear(1));
    }

    #[test]
    fn an_object_deleted_after_the_list_does_not_differ() {
        let mut received = received(2, &[("a", 1)]);
        let list = listed(20, &[("a", 1)]);
        received.delete(&"a", Some("21"));
        assert_eq!(received.compare(&list), Comparison::Unclear(1));
        assert_eq!(received.compare(&listed(22, &[])), Comparison::Same);
    }

    /// What happens to an object at each version: it is written or deleted.
    type History = Vec<(u8, bool)>;

    fn history(length: usize) -> impl Strategy<Value = History> {
        prop::collection::vec((0_u8..6, prop::bool::weighted(0.8)), length)
    }

    /// The objects after the first `version` entries.
    fn state(history: &[(u8, bool)], version: usize) -> Listed {
        let mut list = Listed::default();
        for (index, (key, is_write)) in history.iter().take(version).enumerate() {
            if *is_write {
                list.add(key, Some(&(index + 1).to_string()));
            } else {
                list.objects.remove(&hash(key));
            }
        }
        list.at(Some(&version.to_string()))
    }

    /// Delivers the entries after version `from`, up to version `to`.
    fn deliver(received: &mut Received, history: &[(u8, bool)], from: usize, to: usize) {
        for (index, (key, is_write)) in history.iter().enumerate().take(to).skip(from) {
            let version = (index + 1).to_string();
            if *is_write {
                received.apply(key, Some(&version));
            } else {
                received.delete(key, Some(&version));
            }
        }
    }

    proptest! {
        /// The watch may be ahead of each list, and behind it by less than the time between two lists.
        #[test]
        fn a_watch_that_delivers_everything_is_never_found_to_differ(
            history in history(60),
            steps in prop::collection::vec((0_usize..15, 0_usize..15), 1..8),
        ) {
            let mut received = Received::default();
            let (mut list, mut delivered) = (0, 0_usize);
            for (more_listed, more_delivered) in steps {
                let before = list;
                // A list begins after the last comparison, so it shows what the watch had delivered by then.
                list = delivered.max(list).saturating_add(more_listed).min(history.len());
                let to = (delivered + more_delivered).max(before).min(history.len());
                deliver(&mut received, &history, delivered, to);
                delivered = to;
                let comparison = received.compare(&state(&history, list));
                prop_assert!(!matches!(comparison, Comparison::Differs(_)), "{comparison:?} at {delivered} of {list}");
                prop_assert!(!received.goes_back(Some(&list.max(delivered).to_string())));
            }
        }

        /// Etcd goes back to a version and another history follows. The watch goes on from where it was.
        #[test]
        fn another_history_is_noticed_by_its_version_or_its_objects(
            common in history(20),
            lost in history(15),
            (new, later) in (0_usize..30).prop_flat_map(|new| (history(new), history(10))),
        ) {
            let mut received = Received::default();
            let old = [common.clone(), lost].concat();
            deliver(&mut received, &old, 0, old.len());
            // While the new history is shorter, the watch delivers nothing.
            let now = [common, new].concat();
            let is_shorter = now.len() < old.len();
            deliver(&mut received, &now, old.len(), now.len());
            prop_assert_eq!(received.goes_back(Some(&now.len().to_string())), is_shorter);
            if is_shorter {
                return Ok(());
            }
            let first = received.compare(&state(&now, now.len()));
            let is_same = received.objects == state(&now, now.len()).objects;
            prop_assert_eq!(first == Comparison::Same, is_same);
            // What differs and is left alone afterwards is found by the second list.
            let quiet: Vec<_> = later.into_iter().filter(|(key, _)| !received.suspects.contains_key(&hash(key))).collect();
            let now = [now.clone(), quiet].concat();
            let newest = usize::try_from(received.newest).expect("a small number");
            deliver(&mut received, &now, newest, now.len());
            let second = received.compare(&state(&now, now.len()));
            prop_assert_eq!(matches!(second, Comparison::Differs(_)), !is_same);
        }
    }
}
