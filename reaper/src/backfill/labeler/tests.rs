//! Against an API server in memory: what becomes of a Job without the label.

use jobwarden_common::names::FINALIZER;
use jobwarden_inject::config::Config;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::fake_api::FakeApi;

const JOB: &str = "/apis/batch/v1/namespaces/team/jobs/quiet";
const NAMESPACE: &str = "/api/v1/namespaces/team";

/// A Job, changed by a merge of `change`, in a namespace that is enrolled or not.
fn mk_api(enrolled: bool, change: &Value) -> FakeApi {
    let api = FakeApi::default();
    let labels = if enrolled { json!({"jobwarden.io/inject": "enabled"}) } else { json!({}) };
    api.put(NAMESPACE, json!({"metadata": {"labels": labels}}));
    let mut job = json!({
        "metadata": {"namespace": "team", "finalizers": [FINALIZER], "labels": {"jobwarden.io/enrolled": "false"}},
        "spec": {"template": {"spec": {"containers": [{"name": "main"}], "restartPolicy": "Never"}}}
    });
    json_patch::merge(&mut job, change);
    api.put(JOB, job);
    api
}

async fn label(api: &FakeApi, finalizer: bool) -> Metrics {
    let metrics = Metrics::default();
    let (_keep, rules) = watch::channel(Arc::new(Rules::default()));
    let own = OwnNamespaces::new(["jobwarden".to_owned()]);
    let routes = if finalizer { Routes::to_everyone(&["ort"]) } else { Routes::default() };
    let selection = Selection::default();
    let labeler = Labeler::new(api.client(), own, selection.clone(), rules, routes, metrics.clone());
    let metadata = serde_json::from_value(api.get(JOB).expect("it exists")["metadata"].clone()).expect("metadata");
    let target = Target::of(Kind::Job, &metadata, &selection).expect("something is to be done");
    labeler.label(&target).await.expect("the API server answers");
    metrics
}

const SELECTED_POD: &str = "/api/v1/namespaces/team/pods/quiet-x";

/// Labels the Job and its pod in a namespace that is not enrolled, where the Jobs of ORT Server are selected.
async fn label_selected(job: &Value, pod: &Value) -> FakeApi {
    let api = mk_api(false, &json!({"metadata": {"finalizers": null}}));
    let mut object = api.get(JOB).expect("it exists");
    json_patch::merge(&mut object, job);
    api.put(JOB, object);
    let mut object = json!({
        "metadata": {
            "namespace": "team", "labels": {"batch.kubernetes.io/job-name": "quiet"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "quiet", "uid": "quiet-uid", "controller": true}]
        },
        "spec": {"containers": [{"name": "main"}]}
    });
    json_patch::merge(&mut object, pod);
    api.put(SELECTED_POD, object);
    let (_keep, rules) = watch::channel(Arc::new(Rules::new(Config::parse(ORT).expect("valid").identity)));
    let selector = jobwarden_core::label_selector::parse("ort-worker").expect("a selector");
    let selection = Selection::new(["team".to_owned()], selector);
    let own = OwnNamespaces::new(["jobwarden".to_owned()]);
    let routes = Routes::to_everyone(&["ort"]);
    let labeler = Labeler::new(api.client(), own, selection.clone(), rules, routes, Metrics::default());
    for (kind, path) in [(Kind::Job, JOB), (Kind::Pod, SELECTED_POD)] {
        let metadata = serde_json::from_value(api.get(path).expect("it exists")["metadata"].clone()).expect("metadata");
        let target = Target::of(kind, &metadata, &selection).expect("nothing is being deleted");
        if target.is_selected {
            labeler.label(&target).await.expect("the API server answers");
        }
    }
    api
}

const ORT: &str = "identity: {preset: ort-server}";

fn ort_labels() -> Value {
    json!({"ort-worker": "scanner", "run-id": "41", "trace-id-0": "0af7"})
}

fn ort_job() -> Value {
    json!({"metadata": {"labels": ort_labels()}, "spec": {"template": {"metadata": {"labels": ort_labels()}}}})
}

#[rstest]
#[case::open(json!({}))]
#[case::that_ended_before_it_was_seen(json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}}))]
#[tokio::test]
async fn a_selected_job_is_labelled_with_the_ids_of_its_labels(#[case] status: Value) {
    let mut job = ort_job();
    json_patch::merge(&mut job, &status);
    let api = label_selected(&job, &json!({"metadata": {"labels": ort_labels()}, "status": {"phase": "Failed"}})).await;
    assert_eq!(after(&api), (json!("true"), true));
    let annotations = &api.get(JOB).expect("it exists")["metadata"]["annotations"];
    assert_eq!(annotations["jobwarden.io/run-id"], "41");
    assert_eq!(annotations["jobwarden.io/trace-id"], "0af7");
    let pod = api.get(SELECTED_POD).expect("it exists");
    assert_eq!(pod["metadata"]["labels"]["jobwarden.io/enrolled"], "true");
    assert!(pod["spec"]["initContainers"].is_null(), "it runs without a sidecar");
}

#[rstest]
#[case::without_the_label(json!({}))]
#[case::whose_pods_lack_the_label(json!({"metadata": {"labels": ort_labels()}}))]
#[case::that_opted_out({
    let mut job = ort_job();
    json_patch::merge(&mut job, &json!({"metadata": {"labels": {"jobwarden.io/inject": "false"}}}));
    job
})]
#[tokio::test]
async fn a_job_that_is_not_selected_is_left_alone(#[case] job: Value) {
    let api = label_selected(&job, &json!({})).await;
    assert_eq!(after(&api), (json!("false"), false));
    assert!(api.get(SELECTED_POD).expect("it exists")["metadata"]["labels"]["jobwarden.io/enrolled"].is_null());
}

/// Its label, and whether it has our finalizer.
fn after(api: &FakeApi) -> (Value, bool) {
    let metadata = &api.get(JOB).expect("it exists")["metadata"];
    let held = metadata["finalizers"].as_array().is_some_and(|all| all.contains(&json!(FINALIZER)));
    (metadata["labels"]["jobwarden.io/enrolled"].clone(), held)
}

#[rstest]
#[case::open(json!({}))]
#[case::without_any_label(json!({"metadata": {"labels": null}}))]
#[case::finished(json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}}))]
#[case::being_deleted(json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}))]
#[tokio::test]
async fn a_job_that_we_hold_gets_its_label_back_so_that_its_outcome_is_recorded(#[case] change: Value) {
    let api = mk_api(true, &change);
    let metrics = label(&api, true).await;
    assert_eq!(after(&api), (json!("true"), true));
    assert_eq!(metrics.released.get(), 0);
}

#[rstest]
#[case::its_namespace_is_not_enrolled(false, json!({}))]
#[case::and_it_has_finished(false, json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}}))]
#[case::it_has_opted_out(true, json!({"metadata": {"labels": {"jobwarden.io/inject": "false"}}}))]
#[case::another_controller_manages_it(true, json!({"spec": {"managedBy": "example.com/other"}}))]
#[tokio::test]
async fn a_job_that_is_not_observed_is_released_and_not_labelled(#[case] enrolled: bool, #[case] change: Value) {
    let api = mk_api(enrolled, &change);
    let metrics = label(&api, true).await;
    assert_eq!(after(&api), (json!("false"), false));
    assert_eq!(metrics.released.get(), 1);
}

#[tokio::test]
async fn a_deleted_job_that_is_not_observed_goes() {
    let api = mk_api(false, &json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}));
    label(&api, true).await;
    assert_eq!(api.get(JOB), None);
}

#[tokio::test]
async fn a_finished_job_that_we_do_not_hold_is_left_as_it_is() {
    let finished = json!({
        "metadata": {"finalizers": null}, "status": {"conditions": [{"type": "Complete", "status": "True"}]},
    });
    let api = mk_api(true, &finished);
    label(&api, true).await;
    assert_eq!(after(&api), (json!("false"), false));
    assert!(api.writes().is_empty());
}

#[test]
fn only_what_we_hold_or_what_is_not_being_deleted_is_a_target() {
    let metadata = |change: Value| {
        let mut metadata = json!({"namespace": "team", "name": "quiet"});
        json_patch::merge(&mut metadata, &change);
        serde_json::from_value(metadata).expect("metadata")
    };
    let none = Selection::default();
    let deleted = json!({"deletionTimestamp": "2026-01-02T03:04:05Z"});
    assert_eq!(Target::of(Kind::Job, &metadata(deleted.clone()), &none), None);
    let held = json!({"deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": [FINALIZER]});
    assert!(Target::of(Kind::Job, &metadata(held), &none).is_some_and(|target| target.is_held));
    assert_eq!(Target::of(Kind::Pod, &metadata(deleted), &none), None);
    assert!(Target::of(Kind::Pod, &metadata(json!({})), &none).is_some());
}
