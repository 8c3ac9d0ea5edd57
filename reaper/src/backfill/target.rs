//! Objects to backfill.

use std::collections::HashMap;

use jobwarden_common::names::FINALIZER;
use jobwarden_core::selection::Selection;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// An object without jobwarden's label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    /// It has our finalizer: it had the label before, or somebody has written the finalizer by hand.
    pub(super) is_held: bool,
    /// It is selected by its labels, in a namespace that is not enrolled.
    pub(super) is_selected: bool,
}

/// The kind of a [`Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Job,
    Pod,
}

impl Target {
    /// The object with this metadata. `None` if nothing is to be done about it: it is being deleted, and we do not hold it.
    pub(super) fn of(kind: Kind, metadata: &ObjectMeta, selection: &Selection) -> Option<Self> {
        let (namespace, name) = (metadata.namespace.clone()?, metadata.name.clone()?);
        let is_held = kind == Kind::Job && metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
        let wanted = is_held || metadata.deletion_timestamp.is_none();
        let is_selected = selection.selects_object(metadata);
        wanted.then_some(Self { kind, namespace, name, is_held, is_selected })
    }
}

/// What is being worked on, each object once: somebody who sets and removes the label in a loop causes no more than that.
#[derive(Debug, Default)]
pub(super) struct Working(HashMap<(Kind, String, String), Option<Target>>);

impl Working {
    /// The object was found. Returns whether the work on it begins now; else it begins again when it has ended.
    pub(super) fn begin(&mut self, target: &Target) -> bool {
        if let Some(again) = self.0.get_mut(&key(target)) {
            *again = Some(target.clone());
            return false;
        }
        self.0.insert(key(target), None);
        true
    }

    /// The work on the object has ended. Returns what was found meanwhile, if the work begins again.
    pub(super) fn end(&mut self, target: &Target) -> Option<Target> {
        let again = self.0.get_mut(&key(target))?.take();
        if again.is_none() {
            self.0.remove(&key(target));
        }
        again
    }
}

fn key(Target { kind, namespace, name, .. }: &Target) -> (Kind, String, String) {
    (*kind, namespace.clone(), name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk(name: &str, is_held: bool) -> Target {
        Target { kind: Kind::Job, namespace: "work".to_owned(), name: name.to_owned(), is_held, is_selected: false }
    }

    #[test]
    fn an_object_that_changes_in_a_loop_is_worked_on_once_at_a_time_and_once_more() {
        let mut working = Working::default();
        assert!(working.begin(&mk("a", true)) && working.begin(&mk("b", true)));
        for _ in 0..1000 {
            assert!(!working.begin(&mk("a", true)));
        }
        assert!(!working.begin(&mk("a", false)));
        assert!(working.begin(&Target { kind: Kind::Pod, ..mk("a", true) }), "it is another object");
        assert_eq!(working.0.len(), 3);
        assert_eq!(working.end(&mk("a", true)), Some(mk("a", false)), "as it was found last");
        assert_eq!(working.end(&mk("a", false)), None);
        assert_eq!(working.end(&mk("b", true)), None);
        assert!(working.begin(&mk("a", true)), "what has ended begins anew");
        assert_eq!(working.0.len(), 2, "nothing is kept of what has ended");
    }
}
