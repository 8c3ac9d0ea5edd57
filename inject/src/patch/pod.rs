//! Admission of a pod: the metadata that its template did not have, the sidecar, and the toleration.

use jobwarden_common::{
    identity::JobId,
    names::{label, label_value},
};
use serde::Serialize;

use super::{
    denial::Denial,
    limits::Bounds,
    mutation::{Effect, Mutation, Skip},
    operations::{Operations, Path},
    overrides,
    resources::Resources,
    settings::Settings,
    sidecar::{self, Presence, manifest},
    stamp::Stamp,
    toleration::{self, Change},
};
use crate::{
    endpoint::Endpoint,
    identity::{Rules, rule::Subject},
    view::{Metadata, Pod, PodSpec},
};

const METADATA: Path<'static> = &["metadata"];
const INIT_CONTAINERS: Path<'static> = &["spec", "initContainers"];
const VOLUMES: Path<'static> = &["spec", "volumes"];
const PULL_SECRETS: Path<'static> = &["spec", "imagePullSecrets"];
const TOLERATIONS: Path<'static> = &["spec", "tolerations"];

/// Admits a pod that is being created in `namespace` (the pod itself need not name it). `reaper` is the endpoint of its sidecar,
/// and `bounds` are the bounds of `LimitRanges` for the sidecar, if known.
///
/// # Errors
/// The pod uses a name that is reserved for the sidecar, or a `LimitRange` does not allow the sidecar's size.
pub fn admit(
    pod: &Pod<'_>,
    namespace: &str,
    settings: &Settings,
    reaper: &Endpoint,
    bounds: Option<&Bounds>,
) -> Result<Mutation, Denial> {
    let metadata = pod.metadata.as_ref();
    let job_uid = metadata.and_then(controlling_job);
    match metadata.and_then(|metadata| metadata.label(label::INJECT)) {
        Some(label_value::FALSE) => return Ok(Mutation::skip(Skip::OptedOut)),
        Some(label_value::TRUE) => {}
        _ if job_uid.is_some() => {}
        _ => return Ok(Mutation::skip(Skip::NotOfJob)),
    }
    let Some(spec) = &pod.spec else { return Ok(Mutation::skip(Skip::NoSpec)) };
    if is_windows(spec) {
        return Ok(Mutation::skip_windows());
    }
    let presence = sidecar::presence(spec)?;

    let mut operations = Operations::default();
    let mut identity = settings.rules.identify(&Subject::of_pod(pod));
    identity.job_id = identity.job_id.or_else(|| job_uid.map(JobId::from));
    Stamp::new(&identity).write(&mut operations, METADATA, metadata);
    if let Some(change) = toleration::needed(spec.tolerations.as_deref(), settings.unreachable_grace) {
        tolerate(&mut operations, spec, change);
    }
    let defaults = overrides::defaults(&settings.sidecar, namespace);
    let mut warnings = overrides::warnings([metadata], &defaults);
    let effect = match presence {
        Presence::Absent { volume } => {
            let resources = overrides::resources(&[metadata], &defaults);
            if let Some(violation) = bounds.and_then(|bounds| bounds.violation(namespace, &resources)) {
                return Err(violation.into());
            }
            inject(&mut operations, spec, volume, settings, &resources, reaper);
            Effect::Injected
        }
        Presence::RestartPolicyRemoved { index } => {
            let index = index.to_string();
            operations.add(&[INIT_CONTAINERS, &[&index, "restartPolicy"]].concat(), sidecar::RESTART_POLICY);
            warnings.push(sidecar::RESTART_POLICY_REMOVED.to_owned());
            Effect::Repaired
        }
        Presence::Present if operations.is_empty() => Effect::Skipped(Skip::Enrolled),
        Presence::Present => Effect::Stamped,
    };
    Ok(Mutation { operations, warnings, effect })
}

/// The metadata that an existing pod which admission missed still can get: its IDs. Its containers are immutable. `None` if
/// admission would have skipped it.
pub fn backfill(pod: &Pod<'_>, rules: &Rules) -> Option<Operations> {
    let metadata = pod.metadata.as_ref()?;
    let job_uid = controlling_job(metadata)?;
    if metadata.label(label::INJECT) == Some(label_value::FALSE) || pod.spec.as_ref().is_none_or(is_windows) {
        return None;
    }
    let mut operations = Operations::default();
    let mut identity = rules.identify(&Subject::of_pod(pod));
    identity.job_id = identity.job_id.or_else(|| Some(JobId::from(job_uid)));
    Stamp::new(&identity).write(&mut operations, METADATA, Some(metadata));
    Some(operations)
}

fn inject(
    operations: &mut Operations,
    spec: &PodSpec<'_>,
    volume_exists: bool,
    settings: &Settings,
    resources: &Resources<'_>,
    reaper: &Endpoint,
) {
    let Settings { sidecar, .. } = settings;
    operations.insert(
        spec.init_containers.as_deref(),
        INIT_CONTAINERS,
        true,
        manifest::container(sidecar, *resources, reaper),
    );
    if !volume_exists {
        operations.insert(spec.volumes.as_deref(), VOLUMES, false, manifest::token_volume());
    }
    let existing = spec.image_pull_secrets.as_deref();
    let has = |name: &str| existing.unwrap_or_default().iter().any(|secret| secret.name.as_deref() == Some(name));
    let missing = sidecar.image_pull_secrets.iter().filter(|name| !has(name));
    let missing: Vec<Reference<'_>> = missing.map(|name| Reference { name }).collect();
    if existing.is_some() {
        for secret in missing {
            operations.insert(existing, PULL_SECRETS, false, secret);
        }
    } else if !missing.is_empty() {
        operations.add(PULL_SECRETS, missing);
    }
}

/// A reference to an object of the same namespace, by name (`core/v1.LocalObjectReference`).
#[derive(Serialize)]
struct Reference<'a> {
    name: &'a str,
}

fn tolerate(operations: &mut Operations, spec: &PodSpec<'_>, change: Change) {
    match change {
        Change::Add { seconds } => {
            operations.insert(spec.tolerations.as_deref(), TOLERATIONS, false, toleration::unreachable(seconds));
        }
        Change::Extend { index, seconds } => {
            operations.replace(&[TOLERATIONS, &[&index.to_string(), "tolerationSeconds"]].concat(), seconds);
        }
    }
}

/// The UID of the Job that controls the object, if one does.
fn controlling_job<'a>(metadata: &'a Metadata<'_>) -> Option<&'a str> {
    let owners = metadata.owner_references.as_ref()?;
    let controller = owners.iter().find(|owner| owner.controller == Some(true))?;
    let is_job = controller.kind == *"Job" && controller.api_version == *"batch/v1";
    is_job.then_some(&controller.uid)
}

pub(super) fn is_windows(spec: &PodSpec<'_>) -> bool {
    spec.os.as_ref().is_some_and(|os| os.name == *"windows")
}
