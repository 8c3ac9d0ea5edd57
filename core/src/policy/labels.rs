//! The labels of a Job by which the configuration file selects it: rules of policy, and the filters of sinks.

use std::{collections::BTreeMap, sync::Arc};

/// Prefixes of label keys that nothing may select by: those of the Job controller, which differ from Job to Job, and those of jobwarden.
const IGNORED_PREFIXES: [&str; 4] = ["batch.kubernetes.io/", "controller-uid", "job-name", "jobwarden.io/"];

/// The most labels that are kept of a Job: Kubernetes has no limit of their number, and they are kept for every Job.
const MAX_LABELS: usize = 64;

/// The labels of a Job by which the configuration file selects it. Clones share the same memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Arc<[(Box<str>, Box<str>)]>);

impl Labels {
    /// Keeps the labels that the configuration may name, the first `MAX_LABELS` by their keys.
    pub fn keep<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let kept = labels.into_iter().filter(|(key, _)| !IGNORED_PREFIXES.iter().any(|prefix| key.starts_with(prefix)));
        let by_key: BTreeMap<_, _> = kept.collect();
        Self(
            by_key
                .into_iter()
                .take(MAX_LABELS)
                .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                .collect(),
        )
    }

    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| **known == *key).map(|(_, value)| &**value)
    }
}
