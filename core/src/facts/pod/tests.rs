//! Facts read from pods as the API server sends them.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::evidence::ContainerState;

mod causes;

/// A running worker pod with our sidecar, changed by a merge of `change`.
#[allow(clippy::needless_pass_by_value, reason = "reads well with json!")]
fn mk_pod(change: Value) -> Pod {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "analyzer-7-x2x9v", "namespace": "ort", "uid": "22222222-bbbb-4bbb-8bbb-222222222222",
            "labels": {"jobwarden.io/enrolled": "true",
                "batch.kubernetes.io/controller-uid": "11111111-aaaa-4aaa-8aaa-111111111111"},
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
        claim: Some(Box::new(Claim::new(
            "ort",
            "11111111-aaaa-4aaa-8aaa-111111111111",
            Some(
                &[("batch.kubernetes.io/controller-uid".to_owned(), "11111111-aaaa-4aaa-8aaa-111111111111".to_owned())]
                    .into(),
            ),
        ))),
        left_behind: None,
        phase: PodPhase::Running,
        node: Some("node-1".into()),
        grace: None,
        mains: vec![MainFacts {
            name: "main".into(),
            state: ContainerState::Running,
            id: Some("c-main".into()),
            earlier_id: None,
            exit_code: None,
        }],
        others_running: [ContainerHash::of("c-side")].into(),
        start: StartPhase::NotStarting,
        initializing: None,
        start_problem: None,
        sidecar: SidecarFacts::Started,
        cause: None,
        oom_killed: false,
        memory_limit_bytes: None,
        work_done: false,
        ran_for: None,
        earlier_failures: 0,
    };
    assert_eq!(read(json!({})), expected);
}

#[rstest]
#[case::deleted_without_it(json!({"metadata": {"ownerReferences": null}}), true)]
#[case::of_an_old_cluster(
    json!({"metadata": {"ownerReferences": null, "labels": {
        "batch.kubernetes.io/controller-uid": null, "controller-uid": "11111111-aaaa-4aaa-8aaa-111111111111"
    }}}),
    true
)]
#[case::controlled(json!({}), false)]
#[case::never_of_a_job(
    json!({"metadata": {"ownerReferences": null, "labels": {"batch.kubernetes.io/controller-uid": null}}}),
    false
)]
#[case::a_bare_pod(json!({"metadata": {"ownerReferences": null, "labels": {"jobwarden.io/inject": "true"}}}), false)]
fn a_pod_without_a_controller_is_left_behind_by_the_job_of_its_labels(#[case] change: Value, #[case] left: bool) {
    let job = "11111111-aaaa-4aaa-8aaa-111111111111".into();
    let expected = left.then(|| Box::new(LeftBehind { namespace: "ort".into(), job }));
    assert_eq!(read(change).left_behind, expected);
}

#[rstest]
#[case::replica_set(json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]))]
#[case::anothers_job(json!([{"apiVersion": "flow.example/v1", "kind": "Job", "name": "r", "uid": "r", "controller": true}]))]
#[case::mere_owner(json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "r", "uid": "r"}]))]
#[case::bare(json!(null))]
fn only_a_controlling_batch_job_counts(#[case] owners: Value) {
    assert_eq!(read(json!({"metadata": {"ownerReferences": owners}})).job, None);
}

#[test]
fn a_mirror_pod_is_no_worker() {
    let mirror = mk_pod(json!({"metadata": {
        "annotations": {"kubernetes.io/config.mirror": "x"}, "labels": {"jobwarden.io/inject": "true"}, "ownerReferences": null,
    }}));
    assert_eq!(PodFacts::read(&mirror), None);
    assert!(!is_bare(&mirror));
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

/// A native sidecar of the workload: its spec, and its status after `restarts`, `started` or not.
fn proxy(state: Value, started: bool, restarts: u32) -> Value {
    let mut status = mk_status("proxy", "c-proxy", state);
    (status["started"], status["restartCount"]) = (json!(started), json!(restarts));
    if restarts > 0 {
        status["lastState"] = ended(137, "Error");
    }
    json!({
        "spec": {"initContainers": [{"name": "proxy", "image": "proxy", "restartPolicy": "Always"}]},
        "status": {"initContainerStatuses": [status]},
    })
}

/// An init container of the workload with this status.
fn clone(status: &Value) -> Value {
    json!({"spec": {"initContainers": [{"name": "clone", "image": "git"}]}, "status": {"initContainerStatuses": [status]}})
}

fn crash_loop() -> Value {
    json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}})
}

fn failed_before(name: &str) -> Value {
    let mut status = mk_status(name, "c", crash_loop());
    (status["restartCount"], status["started"], status["lastState"]) = (json!(1), json!(false), ended(1, "Error"));
    status
}

#[rstest]
#[case::nothing_started(json!({}), StartPhase::Starting)]
#[case::not_bound(json!({"spec": {"nodeName": ""}}), StartPhase::NotStarting)]
#[case::own_init_container_runs(clone(&mk_status("clone", "c", running())), StartPhase::Initializing)]
#[case::own_init_container_cannot_start(clone(&not_started("clone", "ErrImagePull")), StartPhase::Starting)]
#[case::own_init_container_is_tried_again(clone(&failed_before("clone")), StartPhase::Initializing)]
#[case::own_sidecar_warms_up(proxy(running(), false, 0), StartPhase::WarmingUp)]
#[case::own_sidecar_warms_up_again(proxy(running(), false, 3), StartPhase::WarmingUp)]
#[case::own_sidecar_is_ready(proxy(running(), true, 0), StartPhase::Starting)]
#[case::own_sidecar_does_not_start(proxy(crash_loop(), false, 3), StartPhase::Starting)]
#[case::failed(json!({"status": {"phase": "Failed"}}), StartPhase::NotStarting)]
fn a_pod_is_starting_while_only_main_containers_are_missing(#[case] change: Value, #[case] expected: StartPhase) {
    let mut pending = with_mains("Pending", &[not_started("main", "PodInitializing")]);
    json_patch::merge(&mut pending, &change);
    assert_eq!(read(pending).start, expected);
}

#[test]
fn nobody_counts_the_restarts_of_a_bare_pod() {
    let mut pending = with_mains("Pending", &[not_started("main", "PodInitializing")]);
    json_patch::merge(&mut pending, &clone(&failed_before("clone")));
    json_patch::merge(&mut pending, &json!({"metadata": {"ownerReferences": []}}));
    assert_eq!(read(pending).start, StartPhase::Starting);
}

#[test]
fn one_main_container_that_has_not_started_is_enough() {
    let mains = [mk_status("main", "c", running()), not_started("second", "ImagePullBackOff")];
    assert_eq!(read(with_mains("Running", &mains)).start, StartPhase::Starting);
}

#[rstest]
#[case::own_sidecar(proxy(crash_loop(), false, 3), Some("proxy"))]
#[case::own_sidecar_that_has_served(proxy(crash_loop(), true, 3), None)]
#[case::own_init_container(clone(&failed_before("clone")), Some("clone"))]
#[case::our_sidecar(json!({"status": {"initContainerStatuses": [failed_before("jobwarden-heartbeat")]}}), None)]
fn an_init_container_that_ends_again_and_again_is_a_start_problem(
    #[case] change: Value,
    #[case] container: Option<&str>,
) {
    let problem = read(change).start_problem;
    assert_eq!(problem.as_ref().map(|problem| problem.container.as_str()), container);
    if let Some(problem) = problem {
        assert_eq!(problem.reason, "CrashLoopBackOff");
        assert!(problem.message.contains("exit code"), "{}", problem.message);
    }
}

#[rstest]
#[case::none(json!({}), 0)]
#[case::counted_and_ignored(
    json!({"batch.kubernetes.io/job-index-failure-count": "2", "batch.kubernetes.io/job-index-ignored-failure-count": "1"}),
    3
)]
fn the_job_controller_notes_the_failures_of_an_index(#[case] annotations: Value, #[case] failures: u32) {
    assert_eq!(read(json!({"metadata": {"annotations": annotations}})).earlier_failures, failures);
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

#[rstest]
#[case::missed(json!({}), SidecarFacts::Absent)]
#[case::left_out(json!({ "jobwarden.io/no-sidecar": "LimitRange" }), SidecarFacts::LeftOut)]
fn a_pod_without_a_sidecar_was_missed_by_admission_or_left_without(
    #[case] annotations: Value,
    #[case] expected: SidecarFacts,
) {
    let metadata = json!({"annotations": annotations});
    let facts = read(
        json!({"metadata": metadata, "spec": {"initContainers": null}, "status": {"initContainerStatuses": null}}),
    );
    assert_eq!(facts.sidecar, expected);
}

#[rstest]
#[case::given(json!({"deletionGracePeriodSeconds": 45}), 45)]
#[case::at_once(json!({"deletionGracePeriodSeconds": 0}), 0)]
#[case::unsaid(json!({}), 30)]
fn a_deleted_pod_has_its_grace(#[case] mut metadata: Value, #[case] seconds: u64) {
    metadata["deletionTimestamp"] = json!("2026-01-02T04:00:00Z");
    assert_eq!(read(json!({"metadata": metadata})).grace, Some(Duration::from_secs(seconds)));
}

#[rstest]
#[case::never("Never", json!(null), 3, Some(3))]
#[case::on_failure("OnFailure", json!(null), 3, None)]
#[case::on_failure_and_done("OnFailure", json!(null), 0, Some(0))]
#[case::by_its_own_policy("Never", json!("OnFailure"), 3, None)]
#[case::never_by_its_own_policy("OnFailure", json!("Never"), 3, Some(3))]
fn a_main_container_has_ended_for_good_if_the_kubelet_does_not_restart_it(
    #[case] of_pod: &str,
    #[case] of_container: Value,
    #[case] exit_code: i32,
    #[case] expected: Option<i32>,
) {
    let mut pod = with_mains("Running", &[json!({"name": "main", "state": ended(exit_code, "Error")})]);
    pod["spec"]["restartPolicy"] = of_pod.into();
    pod["spec"]["containers"][0]["restartPolicy"] = of_container;
    assert_eq!(read(pod).mains[0].exit_code, expected);
}

/// A reboot while the image is pulled.
#[rstest]
#[case::lost("False", false)]
#[case::there("True", true)]
fn a_sidecar_that_ended_with_the_sandbox_of_its_pod_is_no_problem_of_ours(#[case] sandbox: &str, #[case] ours: bool) {
    let sidecar = json!({"name": SIDECAR_CONTAINER, "restartCount": 0, "state": ended(255, "Unknown")});
    let waiting = json!({"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}});
    let problem = read(json!({"status": {
        "phase": "Pending", "initContainerStatuses": [sidecar], "containerStatuses": [waiting],
        "conditions": [{"type": "PodReadyToStartContainers", "status": sandbox}],
    }}))
    .start_problem
    .expect("a problem");
    assert_eq!(problem.ours, ours);
    assert_eq!(problem.message.contains("sandbox"), !ours);
}

#[rstest]
#[case::crashes(json!({"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}), Some("CrashLoopBackOff"))]
#[case::has_ended(json!({"restartCount": 0, "state": ended(1, "Error")}), Some("Error"))]
#[case::runs_after_a_restart(json!({"restartCount": 1, "state": {"running": {}}}), None)]
#[case::runs_after_many(json!({"restartCount": 3, "state": {"running": {}}, "lastState": ended(139, "Error")}), Some("Error"))]
fn a_sidecar_that_ends_before_the_work_begins_is_a_problem_of_ours(
    #[case] status: Value,
    #[case] reason: Option<&str>,
) {
    let mut status = status;
    status["name"] = SIDECAR_CONTAINER.into();
    let waiting = json!({"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}});
    let pod =
        json!({"status": {"phase": "Pending", "initContainerStatuses": [status], "containerStatuses": [waiting]}});
    let problem = read(pod).start_problem;
    assert_eq!(
        problem.as_ref().map(|problem| (problem.reason.as_str(), problem.ours)),
        reason.map(|reason| (reason, true))
    );
}
