//! Which objects are enrolled, refused or left alone, and what they are told.

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
#[case::nobody(json!(null), Effect::Skipped(Skip::NotOfJob))]
#[case::an_owner_that_is_no_controller(
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
fn a_pod_is_enrolled_by_what_controls_it(#[case] owners: Value, #[case] expected: Effect) {
    let pod = at(&a_pod(), "/metadata/ownerReferences", owners);
    assert_eq!(admit_pod(&pod).expect("admitted").effect, expected);
}

#[test]
fn a_pod_falls_back_on_its_jobs_uid() {
    let pod = a_pod();
    let after = patched(&pod, &admit_pod(&pod).expect("admitted"));
    assert_eq!(after["metadata"]["annotations"]["jobwarden.io/job-id"], "0b55-uid");
    assert_eq!(after["metadata"]["labels"]["jobwarden.io/job-id"], "0b55-uid");
}

#[test]
fn a_job_without_ids_gets_none_but_is_enrolled() {
    let job = a_job();
    let after = patched(&job, &admit_job(&job).expect("admitted"));
    let labels = json!({"jobwarden.io/enrolled": "true"});
    assert_eq!((&after["metadata"]["labels"], &after["spec"]["template"]["metadata"]["labels"]), (&labels, &labels));
    assert_eq!(after["metadata"]["annotations"], Value::Null);
}

#[test]
fn the_opt_out_of_a_job_reaches_its_pods() {
    let job = at(&a_job(), "/metadata/labels", json!({"jobwarden.io/inject": "false"}));
    let after = patched(&job, &admit_job(&job).expect("admitted"));
    assert_eq!(after["metadata"], job["metadata"]);
    let pod = at(&a_pod(), "/metadata/labels", after["spec"]["template"]["metadata"]["labels"].clone());
    assert_eq!(admit_pod(&pod).expect("admitted").effect, Effect::Skipped(Skip::OptedOut));
}

#[rstest]
#[case::by_default(json!(null), true, true)]
#[case::said_outright(json!("kubernetes.io/job-controller"), true, true)]
#[case::another_controller(json!("example.com/other"), true, false)]
#[case::not_wanted(json!(null), false, false)]
fn only_jobs_that_the_reaper_will_release_get_the_finalizer(
    #[case] managed_by: Value,
    #[case] wanted: bool,
    #[case] expected: bool,
) {
    let job = at(&an_ort_job(), "/spec/managedBy", managed_by);
    let after = patched(&job, &admit_job_with(&job, &Settings { finalizer: wanted, ..settings() }).expect("admitted"));
    let finalizers = if expected { json!([FINALIZER]) } else { Value::Null };
    assert_eq!(after["metadata"]["finalizers"], finalizers);
    assert_eq!(after["metadata"]["labels"]["jobwarden.io/run-id"], "42");
}

#[rstest]
#[case::main_container("/spec/containers", json!([{"name": SIDECAR_CONTAINER}]), Denial::ContainerName)]
#[case::init_container("/spec/initContainers", json!([{"name": SIDECAR_CONTAINER, "restartPolicy": "Always"}]), Denial::ContainerName)]
#[case::ephemeral_container("/spec/ephemeralContainers", json!([{"name": SIDECAR_CONTAINER}]), Denial::ContainerName)]
#[case::volume("/spec/volumes", json!([{"name": TOKEN_VOLUME, "emptyDir": {}}]), Denial::VolumeName)]
#[case::token_for_somebody_else(
    "/spec/volumes",
    json!([{"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]),
    Denial::VolumeName
)]
fn what_has_our_name_without_being_ours_is_refused(#[case] at_: &str, #[case] value: Value, #[case] denial: Denial) {
    assert_eq!(admit_pod(&at(&a_pod(), at_, value.clone())), Err(denial.clone()));
    // The Job's creator hears of it at once.
    let job = at(&a_job(), &format!("/spec/template{at_}"), value.clone());
    assert_eq!(admit_job(&job), Err(denial));
    // Nobody is refused who wants nothing of us.
    let opted_out = at(&a_pod(), "/metadata/labels", json!({"jobwarden.io/inject": "false"}));
    assert!(admit_pod(&at(&opted_out, at_, value)).is_ok());
}

#[test]
fn a_sidecar_that_others_have_changed_is_still_ours() {
    let pod = a_pod();
    let mut after = patched(&pod, &admit_pod(&pod).expect("admitted"));
    let sidecar = &mut after["spec"]["initContainers"][0];
    sidecar["image"] = json!("mirror.example.com/jobwarden-sidecar:0");
    sidecar["env"].as_array_mut().expect("a list").push(json!({"name": "HTTP_PROXY", "value": "x"}));
    after["spec"]["initContainers"].as_array_mut().expect("a list").insert(0, json!({"name": "istio-init"}));
    assert_eq!(admit_pod(&after).expect("admitted").effect, Effect::Skipped(Skip::Enrolled));
}

#[test]
fn the_sidecar_comes_first_and_reports_to_the_reaper() {
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
#[case("jobwarden.io/lost-after", "90", Some("is no duration such as 90s or 5m; the default applies"))]
#[case("jobwarden.io/retention", "-1h", Some("is no duration such as 90s or 5m; the default applies"))]
#[case("jobwarden.io/on-lost", "panic", Some("is none of retry, fail, report; the default applies"))]
#[case("jobwarden.io/safe-to-duplicate", "yes", Some("is none of true, false; the default applies"))]
#[case("jobwarden.io/sidecar-cpu", "20m", None)]
#[case("jobwarden.io/sidecar-cpu", "0", Some("is no quantity such as 10m; the default of 10m applies"))]
#[case("jobwarden.io/sidecar-memory", "12Mi", None)]
#[case(
    "jobwarden.io/sidecar-memory",
    "11Mi",
    Some("is below 12Mi, the least that runtimes take; the default of 16Mi applies")
)]
fn a_bad_override_is_told_once_and_blocks_nothing(#[case] key: &str, #[case] value: &str, #[case] fault: Option<&str>) {
    let expected: Vec<String> = fault.map(|fault| format!("{key}: {value:?} {fault}")).into_iter().collect();
    let job = at(&a_job(), "/metadata/annotations", json!({key: value}));
    let job = at(&job, "/spec/template/metadata/annotations", json!({key: value}));
    let mutation = admit_job(&job).expect("admitted");
    assert_eq!((mutation.warnings, mutation.effect), (expected.clone(), Effect::Stamped));
    let pod = at(&a_pod(), "/metadata/annotations", json!({key: value}));
    let mutation = admit_pod(&pod).expect("admitted");
    assert_eq!((mutation.warnings, mutation.effect), (expected, Effect::Injected));
}

#[test]
fn a_warning_fits_what_the_api_server_shows() {
    let pod = at(&a_pod(), "/metadata/annotations", json!({"jobwarden.io/sidecar-memory": "\u{1}".repeat(10_000)}));
    let warnings = admit_pod(&pod).expect("admitted").warnings;
    assert!(warnings[0].chars().count() <= 256 && !warnings[0].contains('\u{1}'), "{warnings:?}");
}

#[test]
fn the_jobs_wish_for_its_sidecars_reaches_its_pods() {
    let job = at(&a_job(), "/metadata/annotations", json!({"jobwarden.io/sidecar-memory": "32Mi"}));
    let after = patched(&job, &admit_job(&job).expect("admitted"));
    let annotations = after["spec"]["template"]["metadata"]["annotations"].clone();
    let pod = at(&a_pod(), "/metadata/annotations", annotations);
    let after = patched(&pod, &admit_pod(&pod).expect("admitted"));
    let resources = json!({"cpu": "10m", "memory": "32Mi"});
    assert_eq!(after["spec"]["initContainers"][0]["resources"], json!({"requests": resources, "limits": resources}));
}

#[test]
fn a_grace_of_zero_leaves_tolerations_alone() {
    let settings = Settings { unreachable_grace: std::time::Duration::ZERO, ..settings() };
    let pod = a_pod();
    let after = patched(&pod, &admit_pod_with(&pod, &settings).expect("admitted"));
    assert_eq!(after["spec"]["tolerations"], pod["spec"]["tolerations"]);
}

#[test]
fn a_sidecar_that_another_webhook_stripped_is_mended_and_told() {
    let mut pod = a_pod();
    let once = patched(&pod, &admit_pod(&pod).expect("admitted"));
    pod = once.clone();
    pod["spec"]["initContainers"][0].as_object_mut().expect("the sidecar").remove("restartPolicy");
    pod["spec"]["containers"].as_array_mut().expect("a list").push(json!({"name": "added", "image": "i"}));
    let mutation = admit_pod(&pod).expect("admitted");
    assert_eq!(mutation.effect, Effect::Mended);
    assert!(mutation.warnings[0].contains("restartPolicy"), "{:?}", mutation.warnings);
    assert!(mutation.warnings[0].len() <= 256, "the API server would cut it off");
    let after = patched(&pod, &mutation);
    assert_eq!(after["spec"]["initContainers"], once["spec"]["initContainers"]);
    assert_eq!(admit_pod(&after).expect("admitted").effect, Effect::Skipped(Skip::Enrolled));
}

#[test]
fn a_sidecar_that_is_told_to_end_is_not_ours() {
    let pod = a_pod();
    let mut pod = patched(&pod, &admit_pod(&pod).expect("admitted"));
    pod["spec"]["initContainers"][0]["restartPolicy"] = json!("Never");
    assert_eq!(admit_pod(&pod), Err(Denial::ContainerName));
}

#[rstest]
#[case::the_namespaces(json!(null), "20m", "64Mi")]
#[case::the_annotations(json!({"jobwarden.io/sidecar-memory": "32Mi"}), "20m", "32Mi")]
#[case::a_bad_annotation(json!({"jobwarden.io/sidecar-memory": "1Mi"}), "20m", "64Mi")]
fn a_namespace_has_its_own_size(#[case] annotations: Value, #[case] cpu: &str, #[case] memory: &str) {
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
fn what_admission_missed_is_made_up_for_as_far_as_it_can_be() {
    let job = an_ort_job();
    let admitted = patched(&job, &admit_job(&job).expect("admitted"));
    let text = job.to_string();
    let view = serde_json::from_str(&text).expect("a Job");
    let operations = job::make_up_for(&view, "uid-1", &settings().rules, true).expect("it is ours");
    let mut made_up = job.clone();
    json_patch::patch(&mut made_up, &operations.to_patch()).expect("applies");
    assert_eq!(made_up["metadata"], admitted["metadata"], "the same as by admission");
    assert_eq!(made_up["spec"], job["spec"], "nothing that cannot be changed any more");
}

#[test]
fn a_job_without_an_id_is_made_up_for_by_its_uid() {
    let text = a_job().to_string();
    let view = serde_json::from_str(&text).expect("a Job");
    let operations = job::make_up_for(&view, "uid-1", &settings().rules, false).expect("it is ours");
    let after = patched(&a_job(), &Mutation { operations, ..Mutation::skip(Skip::Enrolled) });
    assert_eq!(after["metadata"]["annotations"]["jobwarden.io/job-id"], "uid-1");
    assert_eq!(after["metadata"]["finalizers"], Value::Null);
}

#[rstest]
#[case::opted_out("/metadata/labels", json!({"jobwarden.io/inject": "false"}))]
#[case::opted_out_in_its_template("/spec/template/metadata/labels", json!({"jobwarden.io/inject": "false"}))]
#[case::windows("/spec/template/spec/os", json!({"name": "windows"}))]
#[case::another_controller("/spec/managedBy", json!("example.com/other"))]
fn what_admission_would_have_left_alone_is_left_alone(#[case] pointer: &str, #[case] value: Value) {
    let text = at(&a_job(), pointer, value).to_string();
    let view = serde_json::from_str(&text).expect("a Job");
    assert_eq!(job::make_up_for(&view, "uid-1", &settings().rules, true), None);
}

#[test]
fn a_pod_that_admission_missed_is_labelled_and_no_more() {
    let text = a_pod().to_string();
    let operations = pod::make_up_for(&serde_json::from_str(&text).expect("a pod"), &settings().rules).expect("ours");
    let after = patched(&a_pod(), &Mutation { operations, ..Mutation::skip(Skip::Enrolled) });
    assert_eq!(after["metadata"]["labels"]["jobwarden.io/enrolled"], "true");
    assert_eq!(after["spec"], a_pod()["spec"]);
}
