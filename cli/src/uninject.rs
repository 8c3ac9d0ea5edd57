//! `jobwarden uninject`: objects without what admission added.

use clap::Args;
use jobwarden_common::names::{FINALIZER, SIDECAR_CONTAINER, TOKEN_VOLUME, annotation, label};
use serde_json::{Map, Value};

use crate::{
    objects::{FileArgs, ObjectsError, kind::Kind},
    output::OutputError,
};

/// Print Jobs and pods without what admission added
///
/// Removes the sidecar, its volume, and jobwarden's labels, annotations and finalizer, also where another client has set them. Pull
/// secrets, tolerations, the annotation jobwarden.io/on-failure and raised resources of a pod stay, because they cannot be told apart
/// from the user's own. Other objects are printed as they are.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  Show a Job as it was before admission:
    kubectl get job sum -o yaml | {prog} uninject -f -")]
pub(crate) struct UninjectArgs {
    #[command(flatten)]
    files: FileArgs,
}

/// Why nothing was printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UninjectError {
    /// The objects.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// Standard output.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// The labels that admission sets. The label that opts in or out is the user's.
const LABELS: [&str; 3] = [label::ENROLLED, label::RUN_ID, label::JOB_ID];
const ANNOTATIONS: [&str; 4] = [annotation::RUN_ID, annotation::JOB_ID, annotation::TRACE_ID, annotation::NO_SIDECAR];

impl UninjectArgs {
    /// Reads, uninjects and prints.
    pub(crate) fn run(self) -> Result<(), UninjectError> {
        let mut objects = self.files.read()?;
        objects.change(|kind, object| {
            uninject(kind, object);
            Ok(())
        })?;
        Ok(objects.print()?)
    }
}

/// Removes from a Job or pod what admission adds.
fn uninject(kind: Kind, object: &mut Value) {
    match kind {
        Kind::Other => {}
        Kind::Pod => strip(object),
        Kind::Job => {
            if let Some(template) = object.pointer_mut("/spec/template") {
                strip(template);
            }
            strip(object);
        }
    }
}

/// Strips a Job, a pod or a pod template. Absent fields are ignored.
fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        prune(metadata, "labels", &LABELS);
        prune(metadata, "annotations", &ANNOTATIONS);
        retain(metadata, "finalizers", |finalizer| finalizer != FINALIZER);
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        retain(spec, "initContainers", |container| container["name"] != SIDECAR_CONTAINER);
        retain(spec, "volumes", |volume| volume["name"] != TOKEN_VOLUME);
    }
}

/// Removes `entries` from the map `key`, and the map itself if that empties it.
fn prune(parent: &mut Map<String, Value>, key: &str, entries: &[&str]) {
    let Some(map) = parent.get_mut(key).and_then(Value::as_object_mut) else { return };
    let before = map.len();
    map.retain(|entry, _| !entries.contains(&entry.as_str()));
    if map.is_empty() && before > 0 {
        parent.shift_remove(key);
    }
}

/// Keeps the matching items of the list `key`, and removes the list itself if that empties it.
fn retain(parent: &mut Map<String, Value>, key: &str, keep: impl Fn(&Value) -> bool) {
    let Some(list) = parent.get_mut(key).and_then(Value::as_array_mut) else { return };
    let before = list.len();
    list.retain(|item| keep(item));
    if list.is_empty() && before > 0 {
        parent.shift_remove(key);
    }
}

#[cfg(test)]
mod tests;
