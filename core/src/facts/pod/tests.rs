//! Facts read from pods as the API server sends them.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;

mod causes;

/// A running worker pod with our sidecar, changed by a merge of `change`.
#[allow(clippy::needless_pass_by_value, reason = "reads well with json!")]
fn mk_pod(change: Value) -> Pod {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "analyzer-7-x2x9v", "namespace": "ort", "uid": "22222222-bbbb-4bbb-8bbb-222222222222",
            "labels": {"jobwarden.io/enrolled": "true"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "analyzer-7",
                "uid": "11111111-aaaa-4aaa-8aaa-111111111111", "controller": true, "blockOwnerDeletion": true}],
        },
        "spec": {
            "nodeName": "node-1", "restartPolicy": "Never",
            "initContainers": [{"name": "jobwarden-heartbeat", "image": "sidecar", "restartPolicy": "Always"}],
            "containers": [{"name": "main", "image": "worker"}],
        },
        "status": {
            "phase": "Running", "qosClass": "Burstable",
            "initContainerStatuses": [mk_status("jobwarden-heartbeat", "c-side", running())],
            "containerStatuses": [mk_status("main", "c-main", running())],
        },
    });
    json_patch::merge(&mut pod, &change);
    serde_json::from_value(pod).expect("a pod")
}

#[allow(clippy::needless_pass_by_value, reason = "reads well with json!")]
fn mk_status(name: &str, id: &str, state: Value) -> Value {
    json!({
        "name": name, "containerID": format!("containerd://{id}"), "image": "i", "imageID": "i", "ready": true,
        "restartCount": 0, "started": true, "state": state, "lastState": {},
    })
}

fn not_started(name: &str, reason: &str) -> Value {
    json!({
        "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "started": false,
        "state": {"waiting": {"reason": reason, "message": "the kubelet's sentence"}}, "lastState": {},
    })
}

fn running() -> Value {
    json!({"running": {"startedAt": "2026-01-02T03:04:05Z"}})
}

fn ended(exit_code: i32, reason: &str) -> Value {
    json!({"terminated": {"exitCode": exit_code, "reason": reason, "containerID": "containerd://c-main",
        "startedAt": "2026-01-02T03:04:05Z", "finishedAt": "2026-01-02T03:05:35Z"}})
}

fn read(change: Value) -> PodFacts {
    PodFacts::read(&mk_pod(change)).expect("it has name and UID")
}

fn with_mains(phase: &str, mains: &[Value]) -> Value {
    let containers: Vec<_> = mains.iter().map(|status| json!({"name": status["name"], "image": "i"})).collect();
    json!({"spec": {"containers": containers}, "status": {"phase": phase, "containerStatuses": mains}})
}

#[test]
fn a_running_pod_is_read_whole() {
    let expected = PodFacts {
        uid: "22222222-bbbb-4bbb-8bbb-222222222222".into(),
        name: "analyzer-7-x2x9v".to_owned(),
        job: Some("11111111-aaaa-4aaa-8aaa-111111111111".into()),
        phase: PodPhase::Running,
        node: Some("node-1".into()),
        grace: None,
        mains: vec![MainFacts {
            name: "main".into(),
            state: ContainerState::Running,
            id: Some("c-main".into()),
            earlier_id: None,
        }],
        others_running: ["c-side".into()].into(),
        starting: false,
        start_problem: None,
        sidecar: SidecarFacts::Started,
        cause: None,
        oom_killed: false,
        ran_for: None,
    };
    assert_eq!(read(json!({})), expected);
}

#[rstest]
#[case::replica_set(json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]))]
#[case::anothers_job(json!([{"apiVersion": "flow.example/v1", "kind": "Job", "name": "r", "uid": "r", "controller": true}]))]
#[case::mere_owner(json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "r", "uid": "r"}]))]
#[case::bare(json!(null))]
fn only_a_controlling_batch_job_counts(#[case] owners: Value) {
    assert_eq!(read(json!({"metadata": {"ownerReferences": owners}})).job, None);
}

#[rstest]
#[case("Pending", PodPhase::Pending)]
#[case("Running", PodPhase::Running)]
#[case("Unknown", PodPhase::Running)]
#[case("Succeeded", PodPhase::Succeeded)]
#[case("Failed", PodPhase::Failed)]
fn phases_are_those_of_kubernetes(#[case] phase: &str, #[case] expected: PodPhase) {
    assert_eq!(read(json!({"status": {"phase": phase}})).phase, expected);
}

#[rstest]
#[case::running(mk_status("main", "c", running()), ContainerState::Running)]
#[case::ended(mk_status("main", "c", ended(0, "Completed")), ContainerState::Terminated)]
#[case::creating(not_started("main", "ContainerCreating"), ContainerState::NotStarted)]
fn a_main_container_has_the_state_that_the_kubelet_reports(#[case] status: Value, #[case] expected: ContainerState) {
    assert_eq!(read(with_mains("Running", &[status])).mains[0].state, expected);
}

#[test]
fn a_main_container_without_a_status_has_not_started() {
    let main = &read(json!({"status": {"containerStatuses": null}})).mains[0];
    assert_eq!((main.state, main.id.as_ref()), (ContainerState::NotStarted, None));
}

#[test]
fn a_crashed_container_waits_to_be_restarted_and_its_runs_are_told_apart() {
    let mut status = mk_status("main", "c-main", json!({"waiting": {"reason": "CrashLoopBackOff"}}));
    status["lastState"] = ended(1, "Error");
    status["restartCount"] = json!(1);
    let main = &read(with_mains("Running", &[status.clone()])).mains[0];
    assert_eq!(main.state, ContainerState::WaitingToRestart);
    assert_eq!((main.id.as_deref(), main.earlier_id.as_deref()), (Some("c-main"), None));

    status["state"] = running();
    status["containerID"] = json!("containerd://c-second");
    let main = &read(with_mains("Running", &[status])).mains[0];
    assert_eq!(main.state, ContainerState::Running);
    assert_eq!((main.id.as_deref(), main.earlier_id.as_deref()), (Some("c-second"), Some("c-main")));
}

#[rstest]
#[case::nothing_started(json!({}), true)]
#[case::not_bound(json!({"spec": {"nodeName": ""}}), false)]
#[case::own_init_container_runs(json!({
    "spec": {"initContainers": [{"name": "clone", "image": "git"}]},
    "status": {"initContainerStatuses": [mk_status("clone", "c", running())]},
}), false)]
#[case::own_init_container_cannot_start(json!({
    "spec": {"initContainers": [{"name": "clone", "image": "git"}]},
    "status": {"initContainerStatuses": [not_started("clone", "ErrImagePull")]},
}), true)]
#[case::failed(json!({"status": {"phase": "Failed"}}), false)]
fn a_pod_is_starting_while_only_main_containers_are_missing(#[case] change: Value, #[case] expected: bool) {
    let mut pending = with_mains("Pending", &[not_started("main", "PodInitializing")]);
    json_patch::merge(&mut pending, &change);
    assert_eq!(read(pending).starting, expected);
}

#[test]
fn one_main_container_that_has_not_started_is_enough() {
    let mains = [mk_status("main", "c", running()), not_started("second", "ImagePullBackOff")];
    assert!(read(with_mains("Running", &mains)).starting);
}

#[rstest]
#[case("ErrImagePull", true)]
#[case("ImagePullBackOff", true)]
#[case("InvalidImageName", true)]
#[case("ErrImageNeverPull", true)]
#[case("CreateContainerConfigError", true)]
#[case("CreateContainerError", true)]
#[case("RunContainerError", true)]
#[case("ContainerCreating", false)]
#[case("PodInitializing", false)]
fn the_reason_of_the_kubelet_names_the_start_problem(#[case] reason: &str, #[case] problem: bool) {
    let facts = read(with_mains("Pending", &[not_started("main", reason)]));
    let expected = StartProblem {
        container: "main".to_owned(),
        reason: reason.to_owned(),
        message: "the kubelet's sentence".to_owned(),
        ours: false,
    };
    assert_eq!(facts.start_problem, problem.then(|| Box::new(expected)));
}

#[test]
fn a_missing_sidecar_image_is_a_problem_of_jobwarden() {
    let mut pending = with_mains("Pending", &[not_started("main", "PodInitializing")]);
    pending["status"]["initContainerStatuses"] = json!([not_started("jobwarden-heartbeat", "ErrImagePull")]);
    let facts = read(pending);
    assert!(facts.start_problem.is_some_and(|problem| problem.ours));
    assert_eq!(facts.sidecar, SidecarFacts::NotStarted);
}

#[test]
fn an_init_container_may_have_a_start_problem() {
    let facts = read(json!({"status": {"initContainerStatuses": [not_started("clone", "ErrImagePull")]}}));
    assert_eq!(facts.start_problem.map(|problem| problem.container).as_deref(), Some("clone"));
}

#[test]
fn a_pod_that_admission_missed_has_no_sidecar() {
    let facts = read(json!({"spec": {"initContainers": null}, "status": {"initContainerStatuses": null}}));
    assert_eq!(facts.sidecar, SidecarFacts::Absent);
}

#[rstest]
#[case::given(json!({"deletionGracePeriodSeconds": 45}), 45)]
#[case::at_once(json!({"deletionGracePeriodSeconds": 0}), 0)]
#[case::unsaid(json!({}), 30)]
fn a_deleted_pod_has_its_grace(#[case] mut metadata: Value, #[case] seconds: u64) {
    metadata["deletionTimestamp"] = json!("2026-01-02T04:00:00Z");
    assert_eq!(read(json!({"metadata": metadata})).grace, Some(Duration::from_secs(seconds)));
}
