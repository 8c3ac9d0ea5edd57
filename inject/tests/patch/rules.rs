//! Which objects are enrolled, denied or skipped, and with which warnings.

use jobwarden_common::names::{FINALIZER, SIDECAR_CONTAINER, TOKEN_VOLUME};
use jobwarden_inject::patch::{Denial, Effect, Mutation, Settings, Skip, job, pod, sidecar::Size};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{a_job, a_pod, admit_job, admit_job_with, admit_pod, admit_pod_with, an_ort_job, patched, settings};

fn at(object: &Value, pointer: &str, value: Value) -> Value {
    let mut object = object.clone();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    object.pointer_mut(parent).expect("its parent exists")[key] = value;
    object
}

#[rstest]
#[case::a_job(json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": true}]), Effect::Injected)]
#[case::no_owner(json!(null), Effect::Skipped(Skip::NotOfJob))]
#[case::an_owner_that_is_not_the_controller(
    json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u"}]), Effect::Skipped(Skip::NotOfJob)
)]
#[case::a_job_of_another_group(
    json!([{"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "name": "j", "uid": "u", "controller": true}]),
    Effect::Skipped(Skip::NotOfJob)
)]
#[case::a_replica_set(
    json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]),
    Effect::Skipped(Skip::NotOfJob)
)]
fn only_pods_that_a_job_controls_are_enrolled(#[case] owners: Value, #[case] expected: Effect) {
    let pod = at(&a_pod(), "/metadata/ownerReferences", owners);
    assert_eq!(admit_pod(&pod).expect("admitted").effect, expected);
}

#[test]
fn the_job_id_of_a_pod_defaults_to_the_uid_of_its_job() {
    let pod = a_pod();
    let after = patched(&pod, &admit_pod(&pod).expect("admitted"));
    assert_eq!(after["metadata"]["annotations"]["jobwarden.io/job-id"], "0b55-uid");
    assert_eq!(after["metadata"]["labels"]["jobwarden.io/job-id"], "0b55-uid");
}

#[test]
fn a_job_without_ids_is_enrolled_without_ids() {
    let job = a_job();
    let after = patched(&job, &admit_job(&job).expect("admitted"));
    let labels = json!({"jobwarden.io/enrolled": "true"});
    assert_eq!((&after["metadata"]["labels"], &after["spec"]["template"]["metadata"]["labels"]), (&labels, &labels));
    assert_eq!(after["metadata"]["annotations"], Value::Null);
}

#[test]
fn the_opt_out_of_a_job_applies_to_its_pods() {
    let job = at(&a_job(), "/metadata/labels", json!({"jobwarden.io/inject": "false"}));
    let after = patched(&job, &admit_job(&job).expect("admitted"));
    assert_eq!(after["metadata"], job["metadata"]);
    let pod = at(&a_pod(), "/metadata/labels", after["spec"]["template"]["metadata"]["labels"].clone());
    assert_eq!(admit_pod(&pod).expect("admitted").effect, Effect::Skipped(Skip::OptedOut));
}

#[rstest]
#[case::by_default(json!(null), true, true)]
#[case::explicit(json!("kubernetes.io/job-controller"), true, true)]
#[case::another_controller(json!("example.com/other"), true, false)]
#[case::disabled(json!(null), false, false)]
fn only_jobs_of_the_built_in_controller_get_the_finalizer(
    #[case] managed_by: Value,
    #[case] enabled: bool,
    #[case] expected: bool,
) {
    let job = at(&an_ort_job(), "/spec/managedBy", managed_by);
    let after = patched(&job, &admit_job_with(&job, &Settings { finalizer: enabled, ..settings() }).expect("admitted"));
    let finalizers = if expected { json!([FINALIZER]) } else { Value::Null };
    assert_eq!(after["metadata"]["finalizers"], finalizers);
    assert_eq!(after["metadata"]["labels"]["jobwarden.io/run-id"], "42");
}

#[rstest]
#[case::of_a_job("/metadata/labels")]
#[case::of_a_template("/spec/template/metadata/labels")]
fn the_enrolled_label_of_a_job_is_overwritten(#[case] labels: &str) {
    let job = at(&a_job(), labels, json!({"jobwarden.io/enrolled": "false", "team": "a"}));
    let after = patched(&job, &admit_job(&job).expect("admitted"));
    assert_eq!(after.pointer(labels), Some(&json!({"jobwarden.io/enrolled": "true", "team": "a"})));
}

#[test]
fn the_enrolled_label_of_a_pod_is_overwritten() {
    let pod = at(&a_pod(), "/metadata/labels", json!({"jobwarden.io/enrolled": "false"}));
    let after = patched(&pod, &admit_pod(&pod).expect("admitted"));
    assert_eq!(after["metadata"]["labels"]["jobwarden.io/enrolled"], "true");
}

#[rstest]
#[case::opted_out("/metadata/annotations", json!({"jobwarden.io/inject": "false"}))]
#[case::opted_out_in_its_template("/spec/template/metadata/labels", json!({"jobwarden.io/inject": "false"}))]
#[case::windows("/spec/template/spec/os", json!({"name": "windows"}))]
fn a_job_that_is_left_alone_keeps_no_word_of_ours(#[case] pointer: &str, #[case] value: Value) {
    let job = at(&a_job(), "/metadata/labels", json!({"jobwarden.io/enrolled": "true", "team": "a"}));
    let job = at(&job, "/metadata/finalizers", json!([FINALIZER, "other", FINALIZER]));
    let job = at(&job, pointer, value);
    let mutation = admit_job(&job).expect("admitted");
    assert!(matches!(mutation.effect, Effect::Skipped(_)));
    let after = patched(&job, &mutation);
    assert_eq!(after["metadata"]["labels"].get("jobwarden.io/enrolled"), None);
    assert_eq!(
        (&after["metadata"]["labels"]["team"], &after["metadata"]["finalizers"]),
        (&json!("a"), &json!(["other"]))
    );
}

#[test]
fn the_job_of_another_controller_keeps_no_finalizer_of_ours() {
    let job = at(&an_ort_job(), "/spec/managedBy", json!("example.com/other"));
    let job = at(&job, "/metadata/finalizers", json!(["other", FINALIZER]));
    assert_eq!(patched(&job, &admit_job(&job).expect("admitted"))["metadata"]["finalizers"], json!(["other"]));
}

#[rstest]
#[case::main_container("/spec/containers", json!([{"name": SIDECAR_CONTAINER}]), Denial::ContainerName)]
#[case::init_container("/spec/initContainers", json!([{"name": SIDECAR_CONTAINER, "restartPolicy": "Always"}]), Denial::ContainerName)]
#[case::ephemeral_container("/spec/ephemeralContainers", json!([{"name": SIDECAR_CONTAINER}]), Denial::ContainerName)]
#[case::volume("/spec/volumes", json!([{"name": TOKEN_VOLUME, "emptyDir": {}}]), Denial::VolumeName)]
#[case::token_for_another_audience(
    "/spec/volumes",
    json!([{"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]),
    Denial::VolumeName
)]
fn reserved_names_are_denied(#[case] at_: &str, #[case] value: Value, #[case] denial: Denial) {
    assert_eq!(admit_pod(&at(&a_pod(), at_, value.clone())), Err(denial.clone()));
    // The Job is denied too, where its creator sees it.
    let job = at(&a_job(), &format!("/spec/template{at_}"), value.clone());
    assert_eq!(admit_job(&job), Err(denial));
    // An object that opted out is never denied.
    let opted_out = at(&a_pod(), "/metadata/labels", json!({"jobwarden.io/inject": "false"}));
    assert!(admit_pod(&at(&opted_out, at_, value)).is_ok());
}

#[test]
fn a_sidecar_changed_by_another_webhook_is_still_recognised() {
    let pod = a_pod();
    let mut after = patched(&pod, &admit_pod(&pod).expect("admitted"));
    let sidecar = &mut after["spec"]["initContainers"][0];
    sidecar["image"] = json!("mirror.example.com/jobwarden-sidecar:0");
    sidecar["env"].as_array_mut().expect("a list").push(json!({"name": "HTTP_PROXY", "value": "x"}));
    after["spec"]["initContainers"].as_array_mut().expect("a list").insert(0, json!({"name": "istio-init"}));
    assert_eq!(admit_pod(&after).expect("admitted").effect, Effect::Skipped(Skip::Enrolled));
}

#[test]
fn the_sidecar_is_the_first_init_container_and_has_the_reapers_endpoint() {
    let pod = at(&a_pod(), "/spec/initContainers", json!([{"name": "setup"}]));
    let after = patched(&pod, &admit_pod(&pod).expect("admitted"));
    let names: Vec<_> =
        after["spec"]["initContainers"].as_array().expect("a list").iter().map(|c| &c["name"]).collect();
    assert_eq!(names, [SIDECAR_CONTAINER, "setup"]);
    let env = &after["spec"]["initContainers"][0]["env"];
    assert_eq!(env[0], json!({"name": "JOBWARDEN_REAPER_ADDRESS", "value": "10.96.0.7:8444"}));
    assert_eq!(env[3], json!({"name": "JOBWARDEN_INTERVAL_MS", "value": "10000"}));
}

#[rstest]
#[case("jobwarden.io/lost-after", "90s", None)]
#[case("jobwarden.io/lost-after", "90", Some("is not a duration such as 90s or 5m; the default applies"))]
#[case("jobwarden.io/retention", "-1h", Some("is not a duration such as 90s or 5m; the default applies"))]
#[case("jobwarden.io/on-lost", "panic", Some("is not one of retry, fail, report; the default applies"))]
#[case("jobwarden.io/safe-to-duplicate", "yes", Some("is not one of true, false; the default applies"))]
#[case("jobwarden.io/sidecar-cpu", "20m", None)]
#[case("jobwarden.io/sidecar-cpu", "1", None)]
#[case(
    "jobwarden.io/sidecar-cpu",
    "10M",
    Some(
        "is more than a sidecar may ask for, which is 1 (m is a thousandth, M a million); the default of 10m applies"
    )
)]
#[case(
    "jobwarden.io/sidecar-memory",
    "16Gi",
    Some("is more than a sidecar may ask for, which is 1Gi; the default of 16Mi applies")
)]
#[case("jobwarden.io/on-failure", "both", Some("is not one of sidecar, agent; the default applies"))]
#[case("jobwarden.io/sidecar-cpu", "0", Some("is not a positive quantity such as 10m; the default of 10m applies"))]
#[case("jobwarden.io/sidecar-memory", "12Mi", None)]
#[case(
    "jobwarden.io/sidecar-memory",
    "11Mi",
    Some("is below 12Mi, the minimum of container runtimes; the default of 16Mi applies")
)]
fn an_invalid_override_causes_one_warning_and_blocks_nothing(
    #[case] key: &str,
    #[case] value: &str,
    #[case] error: Option<&str>,
) {
    let expected: Vec<String> = error.map(|error| format!("{key}: {value:?} {error}")).into_iter().collect();
    let job = at(&a_job(), "/metadata/annotations", json!({key: value}));
    let job = at(&job, "/spec/template/metadata/annotations", json!({key: value}));
    let mutation = admit_job(&job).expect("admitted");
    assert_eq!((mutation.warnings, mutation.effect), (expected.clone(), Effect::Stamped));
    let pod = at(&a_pod(), "/metadata/annotations", json!({key: value}));
    let mutation = admit_pod(&pod).expect("admitted");
    assert_eq!((mutation.warnings, mutation.effect), (expected, Effect::Injected));
}

#[test]
fn beyond_the_limits_of_the_administrator_the_default_applies_with_a_warning() {
    let mut settings = settings();
    settings.sidecar.limits = serde_saphyr::from_str("{cpu: {least: 20m}, memory: {most: 32Mi}}").expect("valid");
    let admit = |cpu: &str, memory: &str| {
        let annotations = json!({"jobwarden.io/sidecar-cpu": cpu, "jobwarden.io/sidecar-memory": memory});
        let pod = at(&a_pod(), "/metadata/annotations", annotations);
        let mutation = admit_pod_with(&pod, &settings).expect("admitted");
        let size = patched(&pod, &mutation)["spec"]["initContainers"][0]["resources"]["limits"].clone();
        (size, mutation.warnings)
    };
    assert_eq!(admit("20m", "32Mi"), (json!({"cpu": "20m", "memory": "32Mi"}), vec![]));
    let (size, warnings) = admit("15m", "33Mi");
    assert_eq!(size, json!({"cpu": "10m", "memory": "16Mi"}));
    let expected = [
        "jobwarden.io/sidecar-cpu: \"15m\" is less than a sidecar may ask for, which is 20m; the default of 10m applies",
        "jobwarden.io/sidecar-memory: \"33Mi\" is more than a sidecar may ask for, which is 32Mi; the default of 16Mi applies",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn a_warning_never_exceeds_the_length_limit_of_the_api_server() {
    let pod = at(&a_pod(), "/metadata/annotations", json!({"jobwarden.io/sidecar-memory": "\u{1}".repeat(10_000)}));
    let warnings = admit_pod(&pod).expect("admitted").warnings;
    assert!(warnings[0].chars().count() <= 256 && !warnings[0].contains('\u{1}'), "{warnings:?}");
}

#[test]
fn the_sidecar_annotations_of_a_job_apply_to_its_pods() {
    let job = at(&a_job(), "/metadata/annotations", json!({"jobwarden.io/sidecar-memory": "32Mi"}));
    let after = patched(&job, &admit_job(&job).expect("admitted"));
    let annotations = after["spec"]["template"]["metadata"]["annotations"].clone();
    let pod = at(&a_pod(), "/metadata/annotations", annotations);
    let after = patched(&pod, &admit_pod(&pod).expect("admitted"));
    let resources = json!({"cpu": "10m", "memory": "32Mi"});
    assert_eq!(after["spec"]["initContainers"][0]["resources"], json!({"requests": resources, "limits": resources}));
}

#[test]
fn a_grace_of_zero_keeps_tolerations() {
    let settings = Settings { unreachable_grace: std::time::Duration::ZERO, ..settings() };
    let pod = a_pod();
    let after = patched(&pod, &admit_pod_with(&pod, &settings).expect("admitted"));
    assert_eq!(after["spec"]["tolerations"], pod["spec"]["tolerations"]);
}

#[test]
fn a_removed_restart_policy_is_restored_with_a_warning() {
    let mut pod = a_pod();
    let once = patched(&pod, &admit_pod(&pod).expect("admitted"));
    pod = once.clone();
    pod["spec"]["initContainers"][0].as_object_mut().expect("the sidecar").remove("restartPolicy");
    pod["spec"]["containers"].as_array_mut().expect("a list").push(json!({"name": "added", "image": "i"}));
    let mutation = admit_pod(&pod).expect("admitted");
    assert_eq!(mutation.effect, Effect::Repaired);
    assert!(mutation.warnings[0].contains("restartPolicy"), "{:?}", mutation.warnings);
    assert!(mutation.warnings[0].len() <= 256, "the API server would truncate it");
    let after = patched(&pod, &mutation);
    assert_eq!(after["spec"]["initContainers"], once["spec"]["initContainers"]);
    assert_eq!(admit_pod(&after).expect("admitted").effect, Effect::Skipped(Skip::Enrolled));
}

#[test]
fn a_sidecar_with_another_restart_policy_is_denied() {
    let pod = a_pod();
    let mut pod = patched(&pod, &admit_pod(&pod).expect("admitted"));
    pod["spec"]["initContainers"][0]["restartPolicy"] = json!("Never");
    assert_eq!(admit_pod(&pod), Err(Denial::Mangled { part: "the restartPolicy" }));
}

#[rstest]
#[case::the_namespace(json!(null), "20m", "64Mi")]
#[case::an_annotation(json!({"jobwarden.io/sidecar-memory": "32Mi"}), "20m", "32Mi")]
#[case::an_invalid_annotation(json!({"jobwarden.io/sidecar-memory": "1Mi"}), "20m", "64Mi")]
fn a_namespace_can_have_its_own_sidecar_size(#[case] annotations: Value, #[case] cpu: &str, #[case] memory: &str) {
    let size =
        Size { cpu: Some("20m".parse().expect("a quantity")), memory: Some("64Mi".parse().expect("a quantity")) };
    let mut settings = settings();
    settings.sidecar.namespaces = [("work".to_owned(), size)].into();
    let pod = at(&a_pod(), "/metadata/annotations", annotations);
    let mutation = admit_pod_with(&pod, &settings).expect("admitted");
    let resources = json!({"cpu": cpu, "memory": memory});
    let after = patched(&pod, &mutation);
    assert_eq!(after["spec"]["initContainers"][0]["resources"]["limits"], resources);
    assert!(mutation.warnings.iter().all(|warning| warning.contains("the default of 64Mi applies")));
}

#[test]
fn backfill_gives_a_job_the_same_metadata_as_admission() {
    let job = an_ort_job();
    let admitted = patched(&job, &admit_job(&job).expect("admitted"));
    let text = job.to_string();
    let view = serde_json::from_str(&text).expect("a Job");
    let operations = job::backfill(&view, "uid-1", &settings().rules, true).expect("the Job is enrolled");
    let mut backfilled = job.clone();
    json_patch::patch(&mut backfilled, &operations.to_patch()).expect("applies");
    assert_eq!(backfilled["metadata"], admitted["metadata"], "the same as from admission");
    assert_eq!(backfilled["spec"], job["spec"], "the spec is immutable");
}

#[test]
fn backfill_gives_a_job_without_an_id_its_uid() {
    let text = a_job().to_string();
    let view = serde_json::from_str(&text).expect("a Job");
    let operations = job::backfill(&view, "uid-1", &settings().rules, false).expect("the Job is enrolled");
    let after = patched(&a_job(), &Mutation { operations, ..Mutation::skip(Skip::Enrolled) });
    assert_eq!(after["metadata"]["annotations"]["jobwarden.io/job-id"], "uid-1");
    assert_eq!(after["metadata"]["finalizers"], Value::Null);
}

#[test]
fn an_existing_job_gets_its_label_back_or_loses_its_finalizer() {
    let job = at(&a_job(), "/metadata/labels", json!({"jobwarden.io/enrolled": "false"}));
    let job = at(&job, "/metadata/finalizers", json!(["other", FINALIZER]));
    let text = job.to_string();
    let view = serde_json::from_str(&text).expect("a Job");
    let apply = |operations| patched(&job, &Mutation { operations, ..Mutation::skip(Skip::Enrolled) });
    let expected = at(&job, "/metadata/labels", json!({"jobwarden.io/enrolled": "true"}));
    assert_eq!(apply(job::relabel(&view)), expected);
    let expected = at(&job, "/metadata/finalizers", json!(["other"]));
    assert_eq!(apply(job::release(&view).expect("it has the finalizer")), expected);
    let text = a_job().to_string();
    assert_eq!(job::release(&serde_json::from_str(&text).expect("a Job")), None);
}

#[rstest]
#[case::opted_out("/metadata/labels", json!({"jobwarden.io/inject": "false"}))]
#[case::opted_out_in_its_template("/spec/template/metadata/labels", json!({"jobwarden.io/inject": "false"}))]
#[case::windows("/spec/template/spec/os", json!({"name": "windows"}))]
#[case::another_controller("/spec/managedBy", json!("example.com/other"))]
fn backfill_skips_what_admission_would_have_skipped(#[case] pointer: &str, #[case] value: Value) {
    let text = at(&a_job(), pointer, value).to_string();
    let view = serde_json::from_str(&text).expect("a Job");
    assert_eq!(job::backfill(&view, "uid-1", &settings().rules, true), None);
}

#[test]
fn backfill_gives_a_pod_metadata_only() {
    let text = a_pod().to_string();
    let operations =
        pod::backfill(&serde_json::from_str(&text).expect("a pod"), &settings().rules).expect("the pod is enrolled");
    let after = patched(&a_pod(), &Mutation { operations, ..Mutation::skip(Skip::Enrolled) });
    assert_eq!(after["metadata"]["labels"]["jobwarden.io/enrolled"], "true");
    assert_eq!(after["spec"], a_pod()["spec"]);
}
