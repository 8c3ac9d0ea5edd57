//! Admission of a pod: the metadata that its template did not have, the sidecar, and the tolerations.

use jobwarden_common::{
    choice::Choice,
    identity::JobId,
    names::{annotation, label, label_value},
};
use serde::Serialize;

use super::{
    denial::Denial,
    enrolment::Enrolment,
    fit::{Fitted, Unfit, fit},
    limits::Bounds,
    mutation::{Effect, Harm, Mutation, Skip},
    on_failure::{self, Watcher},
    operations::{Operations, Path},
    overrides,
    resources::Requirements,
    settings::Settings,
    sidecar::{self, Presence, manifest},
    stamp::Stamp,
    toleration,
    user::User,
    windows::is_windows,
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

/// Admits a pod that is being created in `namespace` (the pod itself need not name it). `reaper` is the endpoint of its sidecar,
/// and `bounds` is what the namespace allows, if known.
///
/// # Errors
/// The pod uses a name that is reserved for the sidecar, or its sidecar has been changed so that it cannot work.
pub fn admit(
    pod: &Pod<'_>,
    namespace: &str,
    settings: &Settings,
    reaper: &Endpoint,
    bounds: Option<&Bounds>,
) -> Result<Mutation, Denial> {
    let metadata = pod.metadata.as_ref();
    let job_uid = metadata.and_then(controlling_job);
    let Enrolment { choice, warning } = Enrolment::of(metadata);
    let mut warnings: Vec<String> = warning.into_iter().collect();
    match choice {
        Some(Choice::Out) => return Ok(Mutation { warnings, ..Mutation::skip(Skip::OptedOut) }),
        Some(Choice::In) => {}
        None if job_uid.is_some() => {}
        None => return Ok(Mutation { warnings, ..Mutation::skip(Skip::NotOfJob) }),
    }
    if metadata.is_some_and(|metadata| metadata.annotation(annotation::MIRROR).is_some()) {
        return Ok(Mutation::skip(Skip::Mirror));
    }
    let Some(spec) = &pod.spec else { return Ok(Mutation::skip(Skip::NoSpec)) };
    if is_windows(spec) {
        return Ok(Mutation::skip_windows(warnings));
    }
    let defaults = overrides::defaults(&settings.sidecar, namespace);
    let plan = match sidecar::presence(spec)? {
        Presence::Absent { .. } if is_harmed_by_restarts(settings, spec, metadata, job_uid.is_some()) => {
            Plan::Leave(Unfit { harm: Harm::OnFailure, warning: on_failure::warning() })
        }
        Presence::Absent { volume } => {
            match fit(spec, overrides::resources(&[metadata], &settings.sidecar, &defaults), &defaults, bounds) {
                Ok(fitted) => Plan::Inject { volume, fitted },
                Err(unfit) => Plan::Leave(unfit),
            }
        }
        Presence::RestartPolicyRemoved { index } => Plan::Repair { index },
        Presence::Present { index } => Plan::Keep { index },
    };

    let mut operations = Operations::default();
    let mut identity = settings.rules.identify(&Subject::of_pod(pod));
    identity.job_id = identity.job_id.or_else(|| job_uid.map(JobId::from));
    let mut stamp = Stamp::new(&identity);
    if let Plan::Leave(Unfit { harm, .. }) = &plan {
        stamp.annotate(annotation::NO_SIDECAR, harm.as_str());
    }
    if choice == Some(Choice::In) && job_uid.is_none() {
        // By this label the reaper knows that a pod without a Job is its own Job; the pod may have it as an annotation.
        stamp.label(label::INJECT, label_value::TRUE);
    }
    stamp.write(&mut operations, METADATA, metadata);
    toleration::tolerate(&mut operations, spec.tolerations.as_deref(), settings.unreachable_grace);
    warnings.extend(overrides::warnings([metadata], &settings.sidecar, &defaults));
    let effect = match plan {
        Plan::Inject { volume, fitted: Fitted { requirements, raised, adjusted, shortage: _ } } => {
            warnings.extend(adjusted);
            inject(&mut operations, spec, volume, settings, requirements, reaper);
            raised.write(&mut operations);
            Effect::Injected
        }
        Plan::Leave(Unfit { harm, warning }) => {
            warnings.push(warning);
            Effect::WithoutSidecar(harm)
        }
        Plan::Repair { index } => {
            let number = index.to_string();
            operations.add(&[INIT_CONTAINERS, &[&number, "restartPolicy"]].concat(), sidecar::RESTART_POLICY);
            warnings.push(sidecar::RESTART_POLICY_REMOVED.to_owned());
            warnings.extend(sidecar::renew(&mut operations, spec, index, reaper));
            Effect::Repaired
        }
        Plan::Keep { index } => {
            warnings.extend(sidecar::renew(&mut operations, spec, index, reaper));
            if operations.is_empty() { Effect::Skipped(Skip::Enrolled) } else { Effect::Stamped }
        }
    };
    Ok(Mutation { operations, warnings, effect })
}

/// What admission does about the sidecar.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
enum Plan<'a> {
    /// Adds it.
    Inject {
        /// Whether its volume exists.
        volume: bool,
        fitted: Fitted<'a>,
    },
    /// Leaves the pod without it.
    Leave(Unfit),
    /// Makes it a native sidecar again.
    Repair { index: usize },
    /// Leaves it as it is, but for the reaper that it connects to.
    Keep { index: usize },
}

/// Whether restarts of the sidecar would use up the retries of the pod's Job.
fn is_harmed_by_restarts(
    settings: &Settings,
    spec: &PodSpec<'_>,
    metadata: Option<&Metadata<'_>>,
    has_job: bool,
) -> bool {
    Watcher::of_pod(settings.on_failure, spec, metadata, has_job) == Watcher::Agent
}

/// The metadata that an existing pod which admission missed still can get: its IDs. Its containers are immutable. `None` if
/// admission would have skipped it.
pub fn backfill(pod: &Pod<'_>, rules: &Rules) -> Option<Operations> {
    let metadata = pod.metadata.as_ref()?;
    let job_uid = controlling_job(metadata)?;
    let opted_out = Enrolment::of(Some(metadata)).choice == Some(Choice::Out);
    if opted_out || pod.spec.as_ref().is_none_or(is_windows) {
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
    requirements: Requirements<'_>,
    reaper: &Endpoint,
) {
    let Settings { sidecar, .. } = settings;
    operations.insert(
        spec.init_containers.as_deref(),
        INIT_CONTAINERS,
        true,
        manifest::container(sidecar, requirements, User::beside(spec), reaper),
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

/// The UID of the Job that controls the object, if one does.
fn controlling_job<'a>(metadata: &'a Metadata<'_>) -> Option<&'a str> {
    let owners = metadata.owner_references.as_ref()?;
    let controller = owners.iter().find(|owner| owner.controller == Some(true))?;
    let is_job = controller.kind == *"Job" && controller.api_version == *"batch/v1";
    is_job.then_some(&controller.uid)
}
