//! The patches of well-known shapes. `INSTA_UPDATE=always cargo test -p jobwarden-webhook` rewrites them.

use jobwarden_inject::patch::{Denial, Mutation};
use serde_json::{Value, json};

use crate::{a_job, a_pod, admit_job, admit_pod, an_ort_job};

fn check(name: &str, result: Result<Mutation, Denial>) {
    let seen = match result {
        Ok(Mutation { operations, warnings, effect }) => {
            json!({"effect": format!("{effect:?}"), "patch": operations, "warnings": warnings})
        }
        Err(denial) => json!({"denied": denial.to_string()}),
    };
    let mut settings = insta::Settings::clone_current();
    settings.set_sort_maps(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_yaml_snapshot!(name, seen));
}

fn with(mut object: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut object);
    object
}

#[test]
fn jobs_are_patched_like_this() {
    check("job", admit_job(&a_job()));
    check("job_of_the_ort_server", admit_job(&an_ort_job()));
    check(
        "job_without_metadata",
        admit_job(&json!({"spec": {"template": {"spec": {"containers": [{"name": "main"}]}}}})),
    );
    check(
        "job_with_generated_name_and_own_ids",
        admit_job(&with(a_job(), |job| {
            job["metadata"] = json!({
                "generateName": "sum-", "finalizers": ["example.com/other"],
                "labels": {"jobwarden.io/run-id": "nightly"},
                "annotations": {"jobwarden.io/job-id": "odd/ID with spaces", "jobwarden.io/sidecar-cpu": "20m"},
            });
        })),
    );
    check(
        "job_managed_elsewhere",
        admit_job(&with(an_ort_job(), |job| job["spec"]["managedBy"] = json!("kueue.x-k8s.io/multikueue"))),
    );
    check(
        "job_opted_out",
        admit_job(&with(a_job(), |job| job["metadata"]["labels"] = json!({"jobwarden.io/inject": "false"}))),
    );
    check(
        "job_with_bad_overrides",
        admit_job(&with(a_job(), |job| {
            job["metadata"]["annotations"] = json!({
                "jobwarden.io/lost-after": "soon", "jobwarden.io/on-lost": "retry", "jobwarden.io/unseen": "maybe",
                "jobwarden.io/sidecar-memory": "8Mi",
            });
        })),
    );
}

#[test]
fn pods_are_patched_like_this() {
    check("pod_of_a_job", admit_pod(&a_pod()));
    check(
        "pod_of_a_stamped_job",
        admit_pod(&with(a_pod(), |pod| {
            pod["metadata"]["labels"] = json!({
                "jobwarden.io/enrolled": "true", "jobwarden.io/run-id": "42", "jobwarden.io/job-id": "7",
            });
            pod["metadata"]["annotations"] = json!({"jobwarden.io/run-id": "42", "jobwarden.io/job-id": "7"});
        })),
    );
    check(
        "pod_without_labels_annotations_volumes_and_tolerations",
        admit_pod(&with(a_pod(), |pod| {
            pod["metadata"].as_object_mut().expect("an object").remove("labels");
            for list in ["volumes", "tolerations"] {
                pod["spec"].as_object_mut().expect("an object").remove(list);
            }
        })),
    );
    check(
        "pod_with_init_containers_and_pull_secrets",
        admit_pod(&with(a_pod(), |pod| {
            pod["spec"]["initContainers"] = json!([{"name": "setup"}, {"name": "proxy", "restartPolicy": "Always"}]);
            pod["spec"]["imagePullSecrets"] = json!([{"name": "other"}]);
        })),
    );
    check("pod_on_the_host_network", admit_pod(&with(a_pod(), |pod| pod["spec"]["hostNetwork"] = json!(true))));
    check(
        "bare_pod_opted_in",
        admit_pod(&json!({
            "metadata": {"name": "bare", "labels": {"jobwarden.io/inject": "true"}},
            "spec": {"containers": [{"name": "main"}]},
        })),
    );
    check(
        "pod_opted_out",
        admit_pod(&with(a_pod(), |pod| pod["metadata"]["labels"]["jobwarden.io/inject"] = json!("false"))),
    );
    check("pod_for_windows", admit_pod(&with(a_pod(), |pod| pod["spec"]["os"] = json!({"name": "windows"}))));
    check(
        "pod_with_its_own_toleration",
        admit_pod(&with(a_pod(), |pod| pod["spec"]["tolerations"] = json!([{"operator": "Exists"}]))),
    );
    check(
        "pod_with_odd_ids_and_overrides",
        admit_pod(&with(a_pod(), |pod| {
            pod["metadata"]["annotations"] = json!({
                "jobwarden.io/run-id": "run/1~ä", "jobwarden.io/job-id": "x".repeat(64),
                "jobwarden.io/sidecar-cpu": "50m", "jobwarden.io/sidecar-memory": "lots",
            });
        })),
    );
    check(
        "pod_with_a_container_of_our_name",
        admit_pod(&with(a_pod(), |pod| pod["spec"]["containers"][0]["name"] = json!("jobwarden-heartbeat"))),
    );
}
