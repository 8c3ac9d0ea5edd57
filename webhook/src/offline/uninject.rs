//! Objects without what admission has put in.

use clap::Args;
use jobwarden_common::names::{FINALIZER, SIDECAR_CONTAINER, TOKEN_VOLUME, annotation, label};
use serde_json::{Map, Value};

use super::{FileArgs, Kind, OfflineError};

/// Print Jobs and pods without what admission has put in
///
/// Takes out the sidecar, its volume, and jobwarden's labels, annotations and finalizer, even where somebody else has set them. A
/// pull secret and a toleration stay: they may be anybody's. Other objects are printed as they are.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  A Job as it was before admission:
    kubectl get job sum -o yaml | jobwarden-webhook uninject -f -")]
pub(crate) struct UninjectArgs {
    #[command(flatten)]
    files: FileArgs,
}

/// What admission writes; the label that opts in or out is its reader's.
const LABELS: [&str; 3] = [label::ENROLLED, label::RUN_ID, label::JOB_ID];
const ANNOTATIONS: [&str; 3] = [annotation::RUN_ID, annotation::JOB_ID, annotation::TRACE_ID];

impl UninjectArgs {
    /// Does what the command line says.
    pub(crate) fn run(self) -> Result<(), OfflineError> {
        let mut input = self.files.read()?;
        input.change(|object| {
            uninject(object);
            Ok(())
        })?;
        input.print()
    }
}

/// Takes out of a Job or pod what admission puts in.
fn uninject(object: &mut Value) {
    match Kind::of(object) {
        Kind::Other => {}
        Kind::Pod => take_from(object),
        Kind::Job => {
            if let Some(template) = object.pointer_mut("/spec/template") {
                take_from(template);
            }
            take_from(object);
        }
    }
}

/// From a Job, a pod or a pod template; what it does not have is not missed.
fn take_from(object: &mut Value) {
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

/// Takes `entries` out of the map `key`, and the map itself if that leaves nothing of it.
fn prune(parent: &mut Map<String, Value>, key: &str, entries: &[&str]) {
    let Some(map) = parent.get_mut(key).and_then(Value::as_object_mut) else { return };
    let before = map.len();
    map.retain(|entry, _| !entries.contains(&entry.as_str()));
    if map.is_empty() && before > 0 {
        parent.shift_remove(key);
    }
}

/// Keeps some items of the list `key`, and takes the list itself if none is left of several.
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
