//! Admission of a Job: its IDs, on the Job and on its pod template, and the finalizer.

use jobwarden_common::{
    choice::Choice,
    identity::JobId,
    names::{FINALIZER, JOB_CONTROLLER, annotation, label, label_value},
};

use super::{
    denial::Denial,
    enrolment::Enrolment,
    fit::{Fitted, Unfit, fit},
    limits::Bounds,
    mutation::{Effect, Mutation, Skip},
    on_failure::{self, Watcher},
    operations::{Operations, Path},
    overrides,
    settings::Settings,
    sidecar::{self, Presence},
    stamp::Stamp,
    windows::is_windows,
};
use crate::{
    identity::{Identity, Rules, rule::Subject},
    view::{Job, Metadata, Pod},
};

const METADATA: Path<'static> = &["metadata"];
const TEMPLATE_METADATA: Path<'static> = &["spec", "template", "metadata"];

/// Annotations of a Job for the admission of its pods, which does not see the Job itself.
const FOR_PODS: [&str; 2] = [annotation::SIDECAR_CPU, annotation::SIDECAR_MEMORY];

/// Admits a Job that is being created in `namespace` (the Job itself need not name it). `bounds` is what the namespace allows, if
/// known.
///
/// # Errors
/// The pod template uses a name that is reserved for the sidecar, or its sidecar cannot work.
pub fn admit(job: &Job<'_>, namespace: &str, settings: &Settings, bounds: Option<&Bounds>) -> Result<Mutation, Denial> {
    let Some(template) = job.spec.as_ref().and_then(|spec| spec.template.as_ref()) else {
        return Ok(Mutation::skip(Skip::NoSpec));
    };
    let [of_job, of_template] = [job.metadata.as_ref(), template.metadata.as_ref()].map(Enrolment::of);
    let mut warnings: Vec<String> = of_job.warning.into_iter().chain(of_template.warning).collect();
    warnings.dedup();
    if of_job.choice == Some(Choice::Out) {
        let mut operations = propagate_opt_out(template);
        disown(&mut operations, job);
        return Ok(Mutation { operations, warnings, ..Mutation::skip(Skip::OptedOut) });
    }
    let left_alone = || {
        let mut operations = Operations::default();
        disown(&mut operations, job);
        operations
    };
    if of_template.choice == Some(Choice::Out) {
        return Ok(Mutation { operations: left_alone(), warnings, ..Mutation::skip(Skip::OptedOut) });
    }
    if template.spec.as_ref().is_some_and(is_windows) {
        return Ok(Mutation { operations: left_alone(), ..Mutation::skip_windows(warnings) });
    }
    let other_controller = has_other_controller(job);
    let watcher = watcher(job, template, settings);
    let defaults = overrides::defaults(&settings.sidecar, namespace);
    warnings.extend(overrides::warnings(
        [job.metadata.as_ref(), template.metadata.as_ref()],
        &settings.sidecar,
        &defaults,
    ));
    if let Some(spec) = template.spec.as_ref().filter(|_| !other_controller) {
        // Denies the Job, because all of its pods would be denied, where its creator does not see it.
        let presence = sidecar::presence(spec)?;
        if watcher == Some(Watcher::Agent) {
            warnings.push(on_failure::warning());
        } else if matches!(presence, Presence::Absent { .. }) {
            // The template's annotations take precedence over the Job's.
            let metadata = [template.metadata.as_ref(), job.metadata.as_ref()];
            let size = overrides::resources(&metadata, &settings.sidecar, &defaults);
            match fit(spec, size, &defaults, bounds) {
                Ok(Fitted { adjusted, shortage, .. }) => {
                    warnings.extend(adjusted.into_iter().chain(shortage.map(|shortage| shortage.warning())));
                }
                Err(Unfit { warning, .. }) => warnings.push(warning),
            }
        }
    }
    let identity = settings.rules.identify(&Subject::of_job(job));
    let mut operations = stamp(job, &identity, settings.finalizer && !other_controller);
    if other_controller {
        remove_finalizer(&mut operations, job);
    }
    stamp_template(&mut operations, job, template, &identity, watcher);
    let effect = if operations.is_empty() { Effect::Skipped(Skip::Enrolled) } else { Effect::Stamped };
    Ok(Mutation { operations, warnings, effect })
}

/// What watches the Job's pods, if that has to be decided here, where the Job's retries are seen.
fn watcher(job: &Job<'_>, template: &Pod<'_>, settings: &Settings) -> Option<Watcher> {
    let retries = job.spec.as_ref().and_then(|spec| spec.backoff_limit);
    let (of_template, of_job) = (template.metadata.as_ref(), job.metadata.as_ref());
    Watcher::of_job(settings.on_failure, template.spec.as_ref()?, retries, of_template, of_job)
}

/// The metadata that an existing Job which admission missed still can get: its IDs and the finalizer. Its template is immutable.
/// `None` if admission would have skipped it, or if another controller is responsible.
pub fn backfill(job: &Job<'_>, uid: &str, rules: &Rules, finalizer: bool) -> Option<Operations> {
    let template = job.spec.as_ref()?.template.as_ref()?;
    let choices = [job.metadata.as_ref(), template.metadata.as_ref()].map(|metadata| Enrolment::of(metadata).choice);
    let opted_out = choices.contains(&Some(Choice::Out));
    if opted_out || template.spec.as_ref().is_some_and(is_windows) || has_other_controller(job) {
        return None;
    }
    let mut identity = rules.identify(&Subject::of_job(job));
    // Unlike at admission, the Job has a UID by now.
    identity.job_id = identity.job_id.or_else(|| Some(JobId::from(uid)));
    Some(stamp(job, &identity, finalizer))
}

/// The Job's IDs and its finalizer.
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

/// The IDs of the Job's pods, and the annotations that their admission needs.
fn stamp_template(
    operations: &mut Operations,
    job: &Job<'_>,
    template: &Pod<'_>,
    identity: &Identity,
    watcher: Option<Watcher>,
) {
    let mut for_pods = Stamp::new(identity);
    if let Some(watcher) = watcher {
        for_pods.annotate(annotation::ON_FAILURE, watcher.as_str());
    }
    for key in FOR_PODS {
        if let Some(value) = job.metadata.as_ref().and_then(|metadata| metadata.annotation(key)) {
            for_pods.annotate(key, value);
        }
    }
    for_pods.write(operations, TEMPLATE_METADATA, template.metadata.as_ref());
}

/// Gives an existing Job back the label by which the reaper's watch selects it, and nothing else: it has ended or is being deleted, and its
/// finalizer is to be released once its outcome is recorded.
pub fn relabel(job: &Job<'_>) -> Operations {
    let mut operations = Operations::default();
    Stamp::new(&Identity::default()).write(&mut operations, METADATA, job.metadata.as_ref());
    operations
}

/// Takes the finalizer from an existing Job that is none of jobwarden's concern. `None` if it has none.
pub fn release(job: &Job<'_>) -> Option<Operations> {
    let mut operations = Operations::default();
    remove_finalizer(&mut operations, job);
    (!operations.is_empty()).then_some(operations)
}

/// A Job that is left alone has no word of ours: the label would make the reaper observe it, and nobody would release the finalizer.
fn disown(operations: &mut Operations, job: &Job<'_>) {
    if job.metadata.as_ref().is_some_and(|metadata| metadata.label(label::ENROLLED).is_some()) {
        operations.remove(&["metadata", "labels", label::ENROLLED]);
    }
    remove_finalizer(operations, job);
}

fn remove_finalizer(operations: &mut Operations, job: &Job<'_>) {
    let finalizers = job.metadata.as_ref().and_then(|metadata| metadata.finalizers.as_deref()).unwrap_or_default();
    // From the last one, so that the places of those before stay.
    for place in (0..finalizers.len()).rev().filter(|place| finalizers[*place] == *FINALIZER) {
        operations.remove(&["metadata", "finalizers", &place.to_string()]);
    }
}

/// Copies the opt-out to the pod template, because the admission of a pod sees only the template's labels.
fn propagate_opt_out(template: &Pod<'_>) -> Operations {
    let mut operations = Operations::default();
    if inject_label(template.metadata.as_ref()).is_none() {
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
    operations
}

fn inject_label<'a>(metadata: Option<&'a Metadata<'_>>) -> Option<&'a str> {
    metadata?.label(label::INJECT)
}

fn has_other_controller(job: &Job<'_>) -> bool {
    let managed_by = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    managed_by.is_some_and(|controller| controller != JOB_CONTROLLER)
}
