use serde_json::json;

use super::*;

#[test]
fn only_what_admission_added_is_removed() {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "p",
            "labels": {"jobwarden.io/enrolled": "true", "jobwarden.io/run-id": "1", "app": "a"},
            "annotations": {"jobwarden.io/run-id": "1", "jobwarden.io/job-id": "2"},
        },
        "spec": {
            "initContainers": [{"name": "jobwarden-heartbeat"}],
            "containers": [{"name": "main"}],
            "volumes": [{"name": "data"}, {"name": "jobwarden-token"}],
        },
    });
    uninject(Kind::of(&pod), &mut pod);
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "labels": {"app": "a"}},
        "spec": {"containers": [{"name": "main"}], "volumes": [{"name": "data"}]},
    });
    assert_eq!(pod, expected);
}

#[test]
fn a_job_loses_its_finalizer_and_its_template_loses_its_labels() {
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"finalizers": ["jobwarden.io/outcome", "other"], "labels": {"jobwarden.io/enrolled": "true"}},
        "spec": {"template": {"metadata": {"labels": {"jobwarden.io/enrolled": "true"}}, "spec": {}}},
    });
    uninject(Kind::of(&job), &mut job);
    let expected = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"finalizers": ["other"]},
        "spec": {"template": {"metadata": {}, "spec": {}}},
    });
    assert_eq!(job, expected);
}

#[test]
fn empty_fields_stay_empty() {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {}}, "spec": {"volumes": []}});
    let before = pod.clone();
    uninject(Kind::of(&pod), &mut pod);
    assert_eq!(pod, before);
}

#[test]
fn other_kinds_are_unchanged() {
    let mut service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"labels": {"jobwarden.io/enrolled": "true"}}});
    let before = service.clone();
    uninject(Kind::of(&service), &mut service);
    assert_eq!(service, before);
}
