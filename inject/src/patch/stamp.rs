//! The labels and annotations that mark an object as enrolled and carry its IDs.
//!
//! Values that the creator has set never change, not even if a label and the annotation of the same key disagree: every reader
//! trusts the annotation. The exception is the label `jobwarden.io/enrolled`, which is jobwarden's own.

use std::{borrow::Cow, collections::BTreeMap};

use jobwarden_common::{
    identity::{self, JobId, RunId},
    names::{annotation, label, label_value},
};
use serde::Serialize;

use super::operations::{Operations, Path};
use crate::{
    identity::Identity,
    view::{Entries, Metadata},
};

/// The labels and annotations of an enrolled object.
#[derive(Debug)]
pub(super) struct Stamp<'a> {
    labels: BTreeMap<&'static str, Cow<'a, str>>,
    annotations: BTreeMap<&'static str, &'a str>,
}

impl<'a> Stamp<'a> {
    /// The labels and annotations for these IDs.
    pub(super) fn new(identity: &'a Identity) -> Self {
        let Identity { run_id, job_id, trace_id } = identity;
        let (run_id, job_id) = (run_id.as_ref().map(RunId::as_str), job_id.as_ref().map(JobId::as_str));
        let labels = [
            (label::ENROLLED, Some(Cow::Borrowed(label_value::TRUE))),
            (label::RUN_ID, run_id.map(identity::label_value)),
            (label::JOB_ID, job_id.map(identity::label_value)),
        ];
        let annotations =
            [(annotation::RUN_ID, run_id), (annotation::JOB_ID, job_id), (annotation::TRACE_ID, trace_id.as_deref())];
        Self { labels: present(labels).collect(), annotations: present(annotations).collect() }
    }

    /// Adds one label.
    pub(super) fn label(&mut self, key: &'static str, value: &'a str) {
        self.labels.insert(key, Cow::Borrowed(value));
    }

    /// Adds one annotation.
    pub(super) fn annotate(&mut self, key: &'static str, value: &'a str) {
        self.annotations.insert(key, value);
    }

    /// Adds the labels and annotations that `metadata`, which is at `path`, lacks.
    pub(super) fn write(&self, operations: &mut Operations, path: Path<'_>, metadata: Option<&Metadata<'_>>) {
        let labels = missing(&self.labels, metadata.and_then(|metadata| metadata.labels.as_ref()));
        let annotations = missing(&self.annotations, metadata.and_then(|metadata| metadata.annotations.as_ref()));
        match metadata {
            None => {
                operations.add(path, Maps { labels, annotations });
            }
            Some(metadata) => {
                write_map(operations, &[path, &["labels"]].concat(), metadata.labels.as_ref(), labels);
                write_map(operations, &[path, &["annotations"]].concat(), metadata.annotations.as_ref(), annotations);
            }
        }
    }
}

fn present<K, V, const N: usize>(entries: [(K, Option<V>); N]) -> impl Iterator<Item = (K, V)> {
    entries.into_iter().filter_map(|(key, value)| Some((key, value?)))
}

/// The value to add to an object without metadata.
#[derive(Serialize)]
struct Maps<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'static str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, &'a str>,
}

fn missing<'a>(
    wanted: &'a BTreeMap<&'static str, impl AsRef<str>>,
    existing: Option<&Entries<'_>>,
) -> BTreeMap<&'static str, &'a str> {
    let is_ours = |key: &str| key == label::ENROLLED;
    let lacking = wanted.iter().filter(|(key, value)| {
        let present = existing.and_then(|existing| existing.get(key));
        present.is_none_or(|present| is_ours(key) && present != value.as_ref())
    });
    lacking.map(|(key, value)| (*key, value.as_ref())).collect()
}

fn write_map(
    operations: &mut Operations,
    path: Path<'_>,
    existing: Option<&Entries<'_>>,
    entries: BTreeMap<&'static str, &str>,
) {
    if existing.is_none() {
        if !entries.is_empty() {
            operations.add(path, entries);
        }
        return;
    }
    for (key, value) in entries {
        operations.add(&[path, &[key]].concat(), value);
    }
}
