//! `LimitRanges` and `ResourceQuotas`: which sidecar fits, and which pods are left without it.

use jobwarden_inject::patch::{
    Effect, Harm, Mutation, Settings, job,
    limits::{Bound, Bounds, Quota, Resource, Scope, Side, strictest},
    pod,
    sidecar::Size,
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{a_job, a_pod, admit_job, patched, reaper, settings};

fn bound(scope: Scope, side: Side, quantity: &str) -> Bounds {
    let quantity = quantity.parse().expect("a quantity");
    [Bound { limit_range: "range".to_owned(), scope, resource: Resource::Memory, side, quantity }].into_iter().collect()
}

/// A minimum above the size of the sidecar of [`settings`].
fn at_least(memory: &str) -> Bounds {
    bound(Scope::Container, Side::Min, memory)
}

fn admit_bounded_pod(pod: &Value, settings: &Settings, bounds: &Bounds) -> Mutation {
    let text = pod.to_string();
    let pod = serde_json::from_str(&text).expect("the test's pod is valid");
    pod::admit(&pod, "work", settings, &reaper(), Some(bounds)).expect("no bound denies a pod")
}

/// The memory of the sidecar of a pod; `null` without a sidecar.
fn memory_of_sidecar(pod: &Value, settings: &Settings, bounds: &Bounds) -> Value {
    let after = patched(pod, &admit_bounded_pod(pod, settings, bounds));
    after["spec"]["initContainers"][0]["resources"]["limits"]["memory"].clone()
}

/// The warnings for the creator of `job`.
fn warnings(job: &Value, settings: &Settings, bounds: &Bounds) -> Vec<String> {
    let text = job.to_string();
    let job = serde_json::from_str(&text).expect("the test's Job is valid");
    job::admit(&job, "work", settings, Some(bounds)).expect("no bound denies a Job").warnings
}

fn sized(object: Value, pointer: &str, memory: &str) -> Value {
    let mut object = object;
    let size = json!({"memory": memory, "cpu": "1"});
    object.pointer_mut(pointer).expect("a container")["resources"] = json!({"requests": size, "limits": size});
    object
}

#[test]
fn the_sidecar_gets_the_size_that_a_container_must_have() {
    assert_eq!(memory_of_sidecar(&a_pod(), &settings(), &at_least("32Mi")), "32Mi");
    assert_eq!(warnings(&a_job(), &settings(), &at_least("32Mi")), Vec::<String>::new());
}

#[test]
fn a_size_for_the_namespace_comes_first() {
    let size = Size { cpu: None, memory: Some("64Mi".parse().expect("a quantity")) };
    let mut settings = settings();
    settings.sidecar.namespaces = [("work".to_owned(), size)].into();
    assert_eq!(memory_of_sidecar(&a_pod(), &settings, &at_least("32Mi")), "64Mi");
}

#[rstest]
#[case::of_the_job(json!("48Mi"), json!(null), "48Mi", false)]
#[case::of_the_template(json!(null), json!("48Mi"), "48Mi", false)]
#[case::the_template_takes_precedence(json!("48Mi"), json!("20Mi"), "32Mi", true)]
#[case::an_invalid_one_of_the_template_takes_precedence(json!("48Mi"), json!("much"), "32Mi", false)]
#[case::too_little(json!("31Mi"), json!(null), "32Mi", true)]
fn an_annotation_that_the_namespace_forbids_is_a_warning(
    #[case] own: Value,
    #[case] template: Value,
    #[case] memory: &str,
    #[case] warned: bool,
) {
    let annotations = |size: Value| if size.is_null() { size } else { json!({"jobwarden.io/sidecar-memory": size}) };
    let mut job = a_job();
    job["metadata"]["annotations"] = annotations(own);
    job["spec"]["template"]["metadata"]["annotations"] = annotations(template);
    let found = warnings(&job, &settings(), &at_least("32Mi"));
    assert_eq!(found.iter().any(|warning| warning.contains("gets 32Mi")), warned, "{found:?}");

    let mut pod = a_pod();
    pod["metadata"]["annotations"] =
        patched(&job, &admit_job(&job).expect("admitted"))["spec"]["template"]["metadata"]["annotations"].take();
    assert_eq!(memory_of_sidecar(&pod, &settings(), &at_least("32Mi")), memory);
}

#[test]
fn a_pod_that_would_exceed_a_limit_range_is_left_without_the_sidecar_and_its_job_warned() {
    let bounds = bound(Scope::Pod, Side::Max, "1Gi");
    let pod = sized(a_pod(), "/spec/containers/0", "1Gi");
    let mutation = admit_bounded_pod(&pod, &settings(), &bounds);
    assert_eq!(mutation.effect, Effect::WithoutSidecar(Harm::LimitRange));
    let after = patched(&pod, &mutation);
    assert_eq!(after["spec"]["initContainers"], Value::Null);
    assert_eq!(after["metadata"]["labels"]["jobwarden.io/enrolled"], "true");
    assert_eq!(after["metadata"]["annotations"]["jobwarden.io/no-sidecar"], "LimitRange");
    let job = sized(a_job(), "/spec/template/spec/containers/0", "1Gi");
    let warnings = warnings(&job, &settings(), &bounds);
    assert!(
        matches!(&warnings[..], [only] if only.contains("sidecar") && only.contains("raise the LimitRange")),
        "{warnings:?}"
    );

    let pod = sized(a_pod(), "/spec/containers/0", "512Mi");
    assert_eq!(admit_bounded_pod(&pod, &settings(), &bounds).effect, Effect::Injected);
}

#[rstest]
#[case::never_room("1Gi", 0.0, Effect::WithoutSidecar(Harm::ResourceQuota), true)]
#[case::no_room_now("2Gi", 1_073_741_824.0, Effect::Injected, true)]
#[case::room("3Gi", 1_073_741_824.0, Effect::Injected, false)]
fn a_quota_without_room_for_the_sidecar_is_a_warning_of_the_job(
    #[case] hard: &str,
    #[case] used: f64,
    #[case] effect: Effect,
    #[case] warned: bool,
) {
    let hard = hard.parse().expect("a quantity");
    let quota = Quota { name: "team".to_owned(), key: "limits.memory".to_owned(), hard, used };
    let bounds = Bounds::new(strictest([]), [quota].into());
    let pod = sized(a_pod(), "/spec/containers/0", "1Gi");
    assert_eq!(admit_bounded_pod(&pod, &settings(), &bounds).effect, effect);
    let job = sized(a_job(), "/spec/template/spec/containers/0", "1Gi");
    let warnings = warnings(&job, &settings(), &bounds);
    assert_eq!(warnings.iter().any(|it| it.contains("ResourceQuota \"team\"") && it.contains("sidecar")), warned);
}

#[test]
fn bounds_apply_only_to_a_sidecar_that_will_be_added() {
    let bounds = bound(Scope::Container, Side::Max, "8Mi");
    let there = patched(&a_pod(), &crate::admit_pod(&a_pod()).expect("admitted"));
    let again = admit_bounded_pod(&there, &settings(), &bounds);
    assert!(again.operations.is_empty(), "the pod already has its sidecar: {again:?}");

    let mut managed_by_other = a_job();
    managed_by_other["spec"]["managedBy"] = json!("kueue.x-k8s.io/multikueue");
    assert_eq!(
        warnings(&managed_by_other, &settings(), &bounds),
        Vec::<String>::new(),
        "its pods run in another cluster"
    );
}
