//! Against an API server in memory: what becomes of a Job without the label.

use jobwarden_common::names::FINALIZER;
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
    let labeler = Labeler::new(api.client(), own, rules, routes, metrics.clone());
    let metadata = serde_json::from_value(api.get(JOB).expect("it exists")["metadata"].clone()).expect("metadata");
    let target = Target::of(Kind::Job, &metadata).expect("something is to be done");
    labeler.label(&target).await.expect("the API server answers");
    metrics
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
    let deleted = json!({"deletionTimestamp": "2026-01-02T03:04:05Z"});
    assert_eq!(Target::of(Kind::Job, &metadata(deleted.clone())), None);
    let held = json!({"deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": [FINALIZER]});
    assert!(Target::of(Kind::Job, &metadata(held)).is_some_and(|target| target.is_held));
    assert_eq!(Target::of(Kind::Pod, &metadata(deleted)), None);
    assert!(Target::of(Kind::Pod, &metadata(json!({}))).is_some());
}
