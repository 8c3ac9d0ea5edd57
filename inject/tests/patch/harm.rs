//! No pod is worse off with jobwarden than without.

use jobwarden_inject::{
    endpoint::Endpoint,
    patch::{Denial, Effect, Harm, Settings, Skip, on_failure::OnFailure, pod},
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{a_job, a_pod, admit_job, admit_job_with, admit_pod, admit_pod_with, patched, reaper, settings};

/// A pod of a Job whose spec has these members, too.
#[allow(clippy::needless_pass_by_value, reason = "callers write literals")]
fn pod_with(members: Value) -> Value {
    let mut pod = a_pod();
    json_patch::merge(&mut pod, &json!({"spec": members}));
    pod
}

/// A Job whose pod template has these members, too, and with this `backoffLimit`.
#[allow(clippy::needless_pass_by_value, reason = "callers write literals")]
fn job_with(members: Value, retries: Option<u32>) -> Value {
    let mut job = a_job();
    json_patch::merge(&mut job, &json!({"spec": {"backoffLimit": retries, "template": {"spec": members}}}));
    job
}

fn injected(pod: &Value) -> Value {
    let mutation = admit_pod(pod).expect("admitted");
    assert_eq!(mutation.effect, Effect::Injected, "{:?}", mutation.warnings);
    patched(pod, &mutation)
}

#[rstest]
#[case::selector(json!({"nodeSelector": {"kubernetes.io/os": "windows"}}))]
#[case::options(json!({"securityContext": {"windowsOptions": {"runAsUserName": "ContainerUser"}}}))]
fn windows_is_left_alone_with_a_warning(#[case] members: Value) {
    let pod = admit_pod(&pod_with(members.clone())).expect("admitted");
    let job = admit_job(&job_with(members, None)).expect("admitted");
    for mutation in [pod, job] {
        assert_eq!(mutation.effect, Effect::Skipped(Skip::Windows));
        assert!(mutation.operations.is_empty() && mutation.warnings[0].contains("Windows"), "{mutation:?}");
    }
}

#[test]
fn a_mirror_pod_is_left_alone() {
    let mut pod = a_pod();
    pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "0b55"});
    let mutation = admit_pod(&pod).expect("admitted");
    assert_eq!((mutation.effect, mutation.operations.is_empty()), (Effect::Skipped(Skip::Mirror), true));
}

#[rstest]
#[case::label(json!({"labels": {"jobwarden.io/inject": "disabled"}}))]
#[case::annotation(json!({"annotations": {"jobwarden.io/inject": "false"}}))]
fn an_opt_out_is_obeyed_as_people_write_it(#[case] metadata: Value) {
    let mut pod = a_pod();
    json_patch::merge(&mut pod, &json!({"metadata": metadata}));
    let mutation = admit_pod(&pod).expect("admitted");
    assert_eq!((mutation.effect, mutation.operations.is_empty()), (Effect::Skipped(Skip::OptedOut), true));
    assert!(mutation.warnings[0].contains("jobwarden.io/inject: \"false\""), "{:?}", mutation.warnings);

    for pointer in ["/metadata", "/spec/template/metadata"] {
        let mut job = a_job();
        json_patch::merge(job.pointer_mut(pointer).expect("it has metadata"), &metadata);
        let mutation = admit_job(&job).expect("admitted");
        assert_eq!(mutation.effect, Effect::Skipped(Skip::OptedOut));
        assert_eq!(mutation.warnings.len(), 1, "{:?}", mutation.warnings);
        let mut pod = a_pod();
        json_patch::merge(&mut pod["metadata"], &patched(&job, &mutation)["spec"]["template"]["metadata"]);
        assert_eq!(admit_pod(&pod).expect("admitted").effect, Effect::Skipped(Skip::OptedOut));
    }
}

#[rstest]
#[case::label(json!({"labels": {"jobwarden.io/inject": "enabled"}}))]
#[case::annotation(json!({"annotations": {"jobwarden.io/inject": "true"}}))]
fn a_bare_pod_opts_in_as_people_write_it(#[case] metadata: Value) {
    let mut pod = a_pod();
    json_patch::merge(&mut pod, &json!({"metadata": {"ownerReferences": null}}));
    json_patch::merge(&mut pod, &json!({"metadata": metadata}));
    let mutation = admit_pod(&pod).expect("admitted");
    assert_eq!((mutation.effect, mutation.warnings.len()), (Effect::Injected, 1), "{:?}", mutation.warnings);
    // The reaper knows bare pods by the label.
    assert!(patched(&pod, &mutation)["metadata"]["labels"]["jobwarden.io/inject"].is_string());
}

#[rstest]
#[case::few_retries(Some(2), json!({}), OnFailure::Auto, Effect::WithoutSidecar(Harm::OnFailure))]
#[case::enough_retries(Some(3), json!({}), OnFailure::Auto, Effect::Injected)]
#[case::default_retries(None, json!({}), OnFailure::Auto, Effect::Injected)]
#[case::asked_for(Some(0), json!({"jobwarden.io/on-failure": "sidecar"}), OnFailure::Auto, Effect::Injected)]
#[case::asked_against(Some(6), json!({"jobwarden.io/on-failure": "agent"}), OnFailure::Sidecar, Effect::WithoutSidecar(Harm::OnFailure))]
#[case::set_for_all(Some(6), json!({}), OnFailure::Agent, Effect::WithoutSidecar(Harm::OnFailure))]
fn restarts_of_the_sidecar_use_up_no_retries_of_a_job_with_few(
    #[case] retries: Option<u32>,
    #[case] annotations: Value,
    #[case] on_failure: OnFailure,
    #[case] expected: Effect,
) {
    let settings = Settings { on_failure, ..settings() };
    let mut job = job_with(json!({"restartPolicy": "OnFailure"}), retries);
    job["metadata"]["annotations"] = annotations;
    let mutation = admit_job_with(&job, &settings).expect("admitted");
    let warned = mutation.warnings.iter().any(|warning| warning.contains("no jobwarden sidecar"));
    assert_eq!(warned, expected != Effect::Injected, "{:?}", mutation.warnings);

    let after = patched(&job, &mutation);
    let mut pod = pod_with(json!({"restartPolicy": "OnFailure"}));
    pod["metadata"]["annotations"] = after["spec"]["template"]["metadata"]["annotations"].clone();
    let mutation = admit_pod_with(&pod, &settings).expect("admitted");
    assert_eq!(mutation.effect, expected);
    let after = patched(&pod, &mutation);
    assert_eq!(after["metadata"]["labels"]["jobwarden.io/enrolled"], "true");
    assert_eq!(after["metadata"]["annotations"]["jobwarden.io/no-sidecar"].is_string(), expected != Effect::Injected);
}

#[test]
fn a_job_that_starts_new_pods_has_no_annotation_about_restarts() {
    let job = job_with(json!({}), Some(0));
    let after = patched(&job, &admit_job(&job).expect("admitted"));
    assert_eq!(after["spec"]["template"]["metadata"]["annotations"], Value::Null);
}

#[test]
fn a_guaranteed_pod_with_resources_of_its_own_keeps_its_share_and_its_class() {
    let size = json!({"cpu": "2", "memory": "2Gi"});
    let after = injected(&pod_with(json!({"resources": {"requests": size, "limits": size}})));
    let raised = json!({"cpu": "2010m", "memory": "2064Mi"});
    assert_eq!(after["spec"]["resources"], json!({"requests": raised, "limits": raised}));
}

#[rstest]
#[case::none(json!({"limits": {"memory": "1Gi"}}), json!(null), json!(null))]
#[case::a_request(json!({"requests": {"ephemeral-storage": "1Gi"}}), json!("16Mi"), json!(null))]
#[case::a_limit(json!({"limits": {"ephemeral-storage": "1Gi"}}), json!("16Mi"), json!("16Mi"))]
fn the_sidecar_asks_for_storage_where_the_workload_does(
    #[case] resources: Value,
    #[case] request: Value,
    #[case] limit: Value,
) {
    let mut pod = a_pod();
    pod["spec"]["containers"][0]["resources"] = resources;
    let after = injected(&pod);
    let of_sidecar = &after["spec"]["initContainers"][0]["resources"];
    let storage = |of: &str| of_sidecar[of]["ephemeral-storage"].clone();
    // A limit of the sidecar alone would be the limit of the whole pod.
    assert_eq!((storage("requests"), storage("limits")), (request, limit));
}

#[rstest]
#[case::nobody_says(json!({}), json!(null))]
#[case::the_pods_is_inherited(json!({"runAsUser": 1000}), json!(null))]
#[case::root_is_not(json!({"runAsUser": 0}), json!(65532))]
fn the_sidecar_runs_as_the_pod_does(#[case] context: Value, #[case] expected: Value) {
    let after = injected(&pod_with(json!({"securityContext": context})));
    let own = &after["spec"]["initContainers"][0]["securityContext"];
    assert_eq!((&own["runAsUser"], &own["runAsNonRoot"]), (&expected, &json!(true)));
}

/// The pod after admission with another reaper.
fn copied() -> Value {
    let elsewhere = Endpoint::from_parts("10.9.9.9:8444".to_owned(), "other.svc".to_owned(), "OLD".to_owned());
    let text = a_pod().to_string();
    let pod = serde_json::from_str(&text).expect("a pod");
    let mutation = pod::admit(&pod, "work", &settings(), &elsewhere, None).expect("admitted");
    patched(&a_pod(), &mutation)
}

#[test]
fn a_sidecar_from_another_cluster_gets_the_endpoint_of_this_one() {
    let mut pod = copied();
    pod["spec"]["initContainers"][0]["env"]
        .as_array_mut()
        .expect("variables")
        .retain(|it| it["name"] != "JOBWARDEN_CA");
    let mutation = admit_pod(&pod).expect("admitted");
    assert_eq!(mutation.effect, Effect::Stamped);
    assert!(mutation.warnings[0].contains("10.9.9.9:8444"), "{:?}", mutation.warnings);
    assert!(mutation.warnings[0].chars().count() <= 256, "{:?}", mutation.warnings);
    let after = patched(&pod, &mutation);
    let env = after["spec"]["initContainers"][0]["env"].as_array().expect("variables");
    let value =
        |name: &str| env.iter().find(|it| it["name"] == name).map(|it| it["value"].as_str().unwrap_or_default());
    assert_eq!(value("JOBWARDEN_REAPER_ADDRESS"), Some(reaper().address()));
    assert_eq!(value("JOBWARDEN_REAPER_NAME"), Some(reaper().server_name()));
    assert_eq!(value("JOBWARDEN_CA"), Some(reaper().ca()));
    assert_eq!(value("JOBWARDEN_INTERVAL_MS"), Some("10000"));
    assert_eq!(admit_pod(&after).expect("admitted").effect, Effect::Skipped(Skip::Enrolled));
}

#[test]
fn a_sidecar_is_not_renewed_where_the_endpoint_is_unknown() {
    let text = copied().to_string();
    let pod = serde_json::from_str(&text).expect("a pod");
    let mutation = pod::admit(&pod, "work", &settings(), &reaper().as_placeholder(), None).expect("admitted");
    assert_eq!(mutation.effect, Effect::Skipped(Skip::Enrolled));
    assert!(mutation.warnings[0].contains("10.9.9.9:8444"), "{:?}", mutation.warnings);
}

#[rstest]
#[case::audience("/spec/volumes/1/projected/sources/0/serviceAccountToken/audience", json!("sts.amazonaws.com"), "the volume with the token")]
#[case::volume("/spec/volumes/1/name", json!("renamed"), "the volume with the token")]
#[case::mounts("/spec/initContainers/0/volumeMounts", json!([]), "the volume mounts")]
fn a_sidecar_that_another_webhook_has_mangled_is_denied_and_that_webhook_named(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] part: &'static str,
) {
    let mut pod = injected(&a_pod());
    *pod.pointer_mut(pointer).expect("it is there") = value;
    let denial = admit_pod(&pod).expect_err("denied");
    assert_eq!(denial, Denial::Mangled { part });
    assert!(denial.to_string().starts_with("another admission webhook"), "{denial}");
}
