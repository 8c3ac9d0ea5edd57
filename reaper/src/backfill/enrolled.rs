//! The enrolled namespaces, as a watch on their label shows them.

use std::collections::BTreeSet;

use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{ResourceExt as _, api::PartialObjectMeta, runtime::watcher::Event};

/// The enrolled namespaces.
#[derive(Debug, Default)]
pub(super) struct EnrolledNamespaces {
    names: BTreeSet<String>,
    /// Those of the list in progress.
    listing: BTreeSet<String>,
}

/// A namespace that is newly enrolled, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Entered(String),
    Left(String),
}

impl EnrolledNamespaces {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// What an event of the watch changes. `enrols` says whether a labelled namespace can be enrolled.
    pub(super) fn apply(
        &mut self,
        event: Event<PartialObjectMeta<Namespace>>,
        enrols: impl Fn(&ObjectMeta) -> bool,
    ) -> Vec<Change> {
        match event {
            Event::Init => {
                self.listing.clear();
                Vec::new()
            }
            Event::InitDone => {
                // What left while the watch was down is not in the list.
                let listed = std::mem::take(&mut self.listing);
                let left: Vec<_> = self.names.difference(&listed).cloned().collect();
                self.names = listed;
                left.into_iter().map(Change::Left).collect()
            }
            Event::Delete(namespace) => {
                let name = namespace.name_any();
                if self.names.remove(&name) { vec![Change::Left(name)] } else { Vec::new() }
            }
            Event::InitApply(namespace) if enrols(&namespace.metadata) => {
                self.listing.insert(namespace.name_any());
                self.enter(namespace.name_any())
            }
            Event::Apply(namespace) if enrols(&namespace.metadata) => self.enter(namespace.name_any()),
            Event::InitApply(_) | Event::Apply(_) => Vec::new(),
        }
    }

    fn enter(&mut self, name: String) -> Vec<Change> {
        if self.names.insert(name.clone()) { vec![Change::Entered(name)] } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> PartialObjectMeta<Namespace> {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        PartialObjectMeta { metadata, ..PartialObjectMeta::default() }
    }

    #[test]
    fn a_namespace_that_left_while_the_watch_was_down_has_left() {
        let mut enrolled = EnrolledNamespaces::default();
        let mut apply = |event| enrolled.apply(event, |metadata| metadata.name.as_deref() != Some("own"));
        assert_eq!(apply(Event::Init), []);
        assert_eq!(apply(Event::InitApply(namespace("a"))), [Change::Entered("a".to_owned())]);
        assert_eq!(apply(Event::InitApply(namespace("own"))), []);
        assert_eq!(apply(Event::InitDone), []);
        assert_eq!(apply(Event::Apply(namespace("a"))), []);
        assert_eq!(apply(Event::Apply(namespace("b"))), [Change::Entered("b".to_owned())]);
        assert_eq!(apply(Event::Init), []);
        assert_eq!(apply(Event::InitApply(namespace("b"))), []);
        assert_eq!(apply(Event::InitDone), [Change::Left("a".to_owned())]);
        assert_eq!(apply(Event::Delete(namespace("b"))), [Change::Left("b".to_owned())]);
        assert_eq!(apply(Event::Delete(namespace("b"))), []);
        assert!(!enrolled.contains("a") && !enrolled.contains("b"));
    }
}
