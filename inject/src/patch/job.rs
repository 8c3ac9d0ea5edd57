//! Admission of a Job: who it is, on the Job and on its pod template, and the finalizer.

use jobwarden_common::{
    identity::JobId,
    names::{FINALIZER, annotation, label, label_value},
};

use super::{
    Denial, Effect, Mutation, Settings, Skip,
    limits::Bounds,
    operations::{Operations, Path},
    overrides, pod,
    sidecar::{self, Presence},
    stamp::Stamp,
};
use crate::{
    identity::{Identity, Rules, rule::Subject},
    view::{Job, Metadata, Pod},
};

/// The value of `spec.managedBy` that stands for the Job controller of Kubernetes itself (KEP-4368).
const BUILT_IN_CONTROLLER: &str = "kubernetes.io/job-controller";

const METADATA: Path<'static> = &["metadata"];
const TEMPLATE_METADATA: Path<'static> = &["spec", "template", "metadata"];

/// Annotations of a Job that are for its pods' admission, which sees nothing of the Job itself.
const FOR_PODS: [&str; 2] = [annotation::SIDECAR_CPU, annotation::SIDECAR_MEMORY];

/// Decides on a Job that is being created in `namespace`, which the Job itself need not name; `bounds` are what `LimitRanges` allow
/// the sidecars of its pods, where that is known.
pub fn admit(job: &Job<'_>, namespace: &str, settings: &Settings, bounds: Option<&Bounds>) -> Result<Mutation, Denial> {
    let Some(template) = job.spec.as_ref().and_then(|spec| spec.template.as_ref()) else {
        return Ok(Mutation::skip(Skip::NoSpec));
    };
    if inject(job.metadata.as_ref()) == Some(label_value::FALSE) {
        return Ok(pass_on_opt_out(template));
    }
    if inject(template.metadata.as_ref()) == Some(label_value::FALSE) {
        return Ok(Mutation::skip(Skip::OptedOut));
    }
    if template.spec.as_ref().is_some_and(pod::is_windows) {
        return Ok(Mutation::skip_windows());
    }
    let elsewhere = is_managed_elsewhere(job);
    let defaults = overrides::defaults(&settings.sidecar, namespace);
    let mut warnings = overrides::warnings([job.metadata.as_ref(), template.metadata.as_ref()], &defaults);
    if let Some(spec) = template.spec.as_ref().filter(|_| !elsewhere) {
        // Its pods would be refused one after the other; here the creator hears of it.
        let presence = sidecar::presence(spec)?;
        let bounds = bounds.filter(|_| matches!(presence, Presence::Absent { .. }));
        // The template's own annotations are not overwritten by the Job's.
        let resources = overrides::resources(&[template.metadata.as_ref(), job.metadata.as_ref()], &defaults);
        // Only a warning: a LimitRange may change before the pods come, and a refused Job would be lost to its creator.
        warnings.extend(bounds.and_then(|bounds| bounds.refusal(namespace, &resources)).map(|it| it.warning()));
    }
    let identity = settings.rules.identify(&Subject::of_job(job));
    let mut operations = stamp(job, &identity, settings.finalizer && !elsewhere);
    stamp_template(&mut operations, job, template, &identity);
    let effect = if operations.is_empty() { Effect::Skipped(Skip::Enrolled) } else { Effect::Stamped };
    Ok(Mutation { operations, warnings, effect })
}

/// What can still be done to a Job that exists and that admission has missed: who it is, and the finalizer; its template cannot be
/// changed any more. `None` where admission would have left it alone, or another controller is responsible.
pub fn make_up_for(job: &Job<'_>, uid: &str, rules: &Rules, finalizer: bool) -> Option<Operations> {
    let template = job.spec.as_ref()?.template.as_ref()?;
    let opted_out = [job.metadata.as_ref(), template.metadata.as_ref()].map(inject).contains(&Some(label_value::FALSE));
    if opted_out || template.spec.as_ref().is_some_and(pod::is_windows) || is_managed_elsewhere(job) {
        return None;
    }
    let mut identity = rules.identify(&Subject::of_job(job));
    // By now it has one.
    identity.job_id = identity.job_id.or_else(|| Some(JobId::from(uid)));
    Some(stamp(job, &identity, finalizer))
}

/// Who the Job is, and its finalizer.
fn stamp(job: &Job<'_>, identity: &Identity, finalizer: bool) -> Operations {
    let mut operations = Operations::default();
    let stamp = Stamp::new(identity);
    stamp.write(&mut operations, METADATA, job.metadata.as_ref());
    if finalizer {
        let finalizers = job.metadata.as_ref().and_then(|metadata| metadata.finalizers.as_deref());
        if !finalizers.unwrap_or_default().iter().any(|finalizer| finalizer == FINALIZER) {
            operations.insert(finalizers, &["metadata", "finalizers"], false, FINALIZER);
        }
    }
    operations
}

/// Who its pods are, and what their admission has to know of it.
fn stamp_template(operations: &mut Operations, job: &Job<'_>, template: &Pod<'_>, identity: &Identity) {
    let mut for_pods = Stamp::new(identity);
    for key in FOR_PODS {
        if let Some(value) = job.metadata.as_ref().and_then(|metadata| metadata.annotation(key)) {
            for_pods.annotate(key, value);
        }
    }
    for_pods.write(operations, TEMPLATE_METADATA, template.metadata.as_ref());
}

/// The Job itself stays as it is. Its pods carry only the template's labels, so that is where their own admission has to
/// find the opt-out.
fn pass_on_opt_out(template: &Pod<'_>) -> Mutation {
    let mut operations = Operations::default();
    if inject(template.metadata.as_ref()).is_none() {
        let labels = template.metadata.as_ref().map(|metadata| metadata.labels.is_some());
        match labels {
            None => {
                let labels = serde_json::json!({ "labels": { label::INJECT: label_value::FALSE } });
                operations.add(TEMPLATE_METADATA, labels);
            }
            Some(existing) => {
                let path = [TEMPLATE_METADATA, &["labels"]].concat();
                operations.member(existing, &path, label::INJECT, label_value::FALSE);
            }
        }
    }
    Mutation { operations, ..Mutation::skip(Skip::OptedOut) }
}

fn inject<'a>(metadata: Option<&'a Metadata<'_>>) -> Option<&'a str> {
    metadata?.label(label::INJECT)
}

fn is_managed_elsewhere(job: &Job<'_>) -> bool {
    let managed_by = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    managed_by.is_some_and(|controller| controller != BUILT_IN_CONTROLLER)
}
