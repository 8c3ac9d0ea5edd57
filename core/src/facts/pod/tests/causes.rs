//! Causes read from pods as Kubernetes 1.35 leaves them; the sentences are those of its components.

use jobwarden_common::notification::CauseKind;

use super::*;

/// When the main container of [`ended`] ended.
const FINISHED: &str = "2026-01-02T03:05:35Z";

#[allow(clippy::needless_pass_by_value, reason = "reads well with json!")]
fn failed_with(status: &Value, change: Value) -> Cause {
    let mut failed = with_mains("Failed", std::slice::from_ref(status));
    json_patch::merge(&mut failed, &change);
    read(failed).cause()
}

fn main_ended(exit_code: i32, reason: &str) -> Value {
    mk_status("main", "c-main", ended(exit_code, reason))
}

fn ended_at(name: &str, exit_code: i32, reason: &str, at: &str) -> Value {
    let mut status = mk_status(name, &format!("c-{name}"), ended(exit_code, reason));
    status["state"]["terminated"]["finishedAt"] = json!(at);
    status
}

fn disrupted(reason: &str, message: &str) -> Value {
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message});
    json!({"status": {"conditions": [condition]}})
}

fn deleted_at(timestamp: &str, grace: i64) -> Value {
    json!({"metadata": {"deletionTimestamp": timestamp, "deletionGracePeriodSeconds": grace}})
}

#[test]
fn an_exit_code_is_the_cause() {
    let facts = read(with_mains("Failed", &[main_ended(3, "Error")]));
    let expected = Cause {
        kind: Some(CauseKind::ExitCode),
        container: Some("main".to_owned()),
        exit_code: Some(3),
        reason: Some("Error".to_owned()),
        finished_at: Some(FINISHED.to_owned()),
        ..Cause::default()
    };
    assert_eq!(facts.cause(), expected);
    assert_eq!(facts.ran_for, Some(Duration::from_secs(90)));
    assert!(!facts.oom_killed);
}

#[rstest]
#[case::exit(3, "Error", CauseKind::ExitCode, None)]
#[case::oom(137, "OOMKilled", CauseKind::OomKilled, Some("SIGKILL"))]
#[case::a_child_was_killed_for_memory(0, "OOMKilled", CauseKind::OomKilled, None)]
#[case::killed(137, "Error", CauseKind::Signal, Some("SIGKILL"))]
#[case::segfault(139, "Error", CauseKind::Signal, Some("SIGSEGV"))]
#[case::terminated(143, "Error", CauseKind::Signal, Some("SIGTERM"))]
#[case::no_such_program(128, "StartError", CauseKind::CreateFailed, None)]
#[case::no_such_program_elsewhere(127, "ContainerCannotRun", CauseKind::CreateFailed, None)]
fn the_end_of_a_container_has_a_cause(
    #[case] exit_code: i32,
    #[case] reason: &str,
    #[case] kind: CauseKind,
    #[case] signal: Option<&str>,
) {
    let cause = failed_with(&main_ended(exit_code, reason), json!({}));
    assert_eq!((cause.kind, cause.signal.as_deref(), cause.exit_code), (Some(kind), signal, Some(exit_code)));
}

#[rstest]
#[case::evicted_for_memory(
    json!({"status": {"reason": "Evicted", "message": "The node was low on resource: memory. Threshold quantity: 100Mi, available: 84Mi. Container main was using 1Gi, request is 0, has larger consumption of memory. "}}),
    CauseKind::Evicted, Some("memory"), Some("kubelet")
)]
#[case::evicted_before_its_status_says_so(
    disrupted("TerminationByKubelet", "The node was low on resource: ephemeral-storage. "),
    CauseKind::Evicted,
    Some("ephemeral-storage"),
    Some("kubelet")
)]
#[case::preempted_by_the_scheduler(
    disrupted("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod"),
    CauseKind::Preempted,
    None,
    Some("kube-scheduler")
)]
#[case::preempted_by_the_kubelet(
    json!({"status": {"reason": "Preempting", "message": "Preempted in order to admit critical pod"}}),
    CauseKind::Preempted, None, Some("kubelet")
)]
#[case::node_shut_down(
    json!({"status": {"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."}}),
    CauseKind::NodeShutdown, None, Some("kubelet")
)]
#[case::drained(
    disrupted("EvictionByEvictionAPI", "Eviction API: evicting"),
    CauseKind::Drained,
    None,
    Some("eviction API")
)]
#[case::tainted(
    disrupted("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
    CauseKind::Tainted,
    None,
    Some("taint-eviction-controller")
)]
#[case::node_deleted(
    disrupted("DeletionByPodGC", "PodGC: node no longer exists"),
    CauseKind::NodeLost,
    None,
    Some("pod-garbage-collector-controller")
)]
#[case::deadline(
    json!({"status": {"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the specified deadline"}}),
    CauseKind::DeadlineExceeded, None, Some("kubelet")
)]
#[case::deleted(deleted_at("2026-01-02T03:06:00Z", 30), CauseKind::Deleted, None, None)]
#[case::deleted_after_it_had_failed(deleted_at("2026-01-02T03:06:06Z", 30), CauseKind::Signal, None, None)]
fn who_ended_the_pod_outweighs_how_its_container_ended(
    #[case] change: Value,
    #[case] kind: CauseKind,
    #[case] resource: Option<&str>,
    #[case] by: Option<&str>,
) {
    let cause = failed_with(&main_ended(143, "Error"), change);
    assert_eq!((cause.kind, cause.resource.as_deref(), cause.by.as_deref()), (Some(kind), resource, by));
    assert_eq!((cause.exit_code, cause.container.as_deref()), (Some(143), Some("main")));
}

#[test]
fn lack_of_memory_outweighs_a_deletion() {
    let cause = failed_with(&main_ended(137, "OOMKilled"), deleted_at("2026-01-02T03:06:00Z", 30));
    assert_eq!(cause.kind, Some(CauseKind::OomKilled));
}

#[test]
fn a_pod_that_is_deleted_while_it_runs_has_that_cause() {
    let cause = read(deleted_at("2026-01-02T03:06:00Z", 0)).cause();
    assert_eq!((cause.kind, cause.by), (Some(CauseKind::Deleted), None));
    assert_eq!(cause.message.as_deref(), Some("the pod was deleted without grace"));
}

#[test]
fn a_pod_that_its_node_rejected_never_ran() {
    let change = json!({"status": {"phase": "Failed", "containerStatuses": null, "initContainerStatuses": null,
        "reason": "OutOfmemory", "message": "Pod was rejected: Node didn't have enough resource: memory, requested: 1, used: 2, capacity: 2"}});
    let cause = read(change).cause();
    assert_eq!((cause.kind, cause.container), (Some(CauseKind::NotAdmitted), None));
}

#[rstest]
#[case::waiting("", json!({}), Some(CauseKind::Unschedulable))]
#[case::deleted_while_it_waits("", deleted_at("2026-01-02T03:06:00Z", 0), Some(CauseKind::Unschedulable))]
#[case::bound("node-1", json!({}), None)]
#[case::deleted_on_a_node("node-1", deleted_at("2026-01-02T03:06:00Z", 30), Some(CauseKind::Deleted))]
fn a_pod_without_a_node_has_the_reason_of_the_scheduler(
    #[case] node: &str,
    #[case] deletion: Value,
    #[case] kind: Option<CauseKind>,
) {
    let mut pending = with_mains("Pending", &[]);
    let sentence = "0/3 nodes are available: 3 Insufficient memory.";
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": sentence});
    let change =
        json!({"spec": {"nodeName": node}, "status": {"conditions": [condition], "initContainerStatuses": null}});
    json_patch::merge(&mut pending, &change);
    json_patch::merge(&mut pending, &deletion);
    let cause = read(pending).cause();
    assert_eq!(cause.kind, kind);
    let by_scheduler = cause.by.as_deref() == Some("kube-scheduler") && cause.message.as_deref() == Some(sentence);
    assert_eq!(by_scheduler, kind == Some(CauseKind::Unschedulable));
}

#[rstest]
#[case::ended(&[(0, "03:05:35")], json!({}), true)]
#[case::deleted_later(&[(0, "03:05:35")], deleted_at("2026-01-02T03:06:06Z", 30), true)]
#[case::ended_when_asked_to_stop(&[(0, "03:05:36")], deleted_at("2026-01-02T03:06:06Z", 30), false)]
#[case::one_of_two_ended_when_asked_to_stop(&[(0, "03:05:30"), (0, "03:05:37")], deleted_at("2026-01-02T03:06:06Z", 30), false)]
#[case::failed(&[(1, "03:05:35")], json!({}), false)]
#[case::one_of_two_failed(&[(0, "03:05:35"), (1, "03:05:35")], json!({}), false)]
fn work_is_done_once_every_main_container_has_ended_well(
    #[case] ends: &[(i32, &str)],
    #[case] deletion: Value,
    #[case] done: bool,
) {
    let mains = ends.iter().enumerate();
    let mains =
        mains.map(|(number, (code, at))| ended_at(&format!("m{number}"), *code, "x", &format!("2026-01-02T{at}Z")));
    let mut pod = with_mains("Running", &mains.collect::<Vec<_>>());
    json_patch::merge(&mut pod, &deletion);
    assert_eq!(read(pod).work_done, done);
}

#[test]
fn work_is_not_done_while_a_main_container_runs() {
    assert!(!read(with_mains("Running", &[main_ended(0, "Completed"), mk_status("second", "c", running())])).work_done);
}

#[test]
fn the_first_container_to_fail_is_the_cause() {
    let mains = [
        ended_at("late", 137, "OOMKilled", "2026-01-02T03:05:36Z"),
        ended_at("early", 1, "Error", "2026-01-02T03:05:35Z"),
        ended_at("fine", 0, "Completed", "2026-01-02T03:05:00Z"),
    ];
    let facts = read(with_mains("Failed", &mains));
    assert_eq!(facts.cause().container.as_deref(), Some("early"));
    assert!(facts.oom_killed);
}

#[test]
fn lack_of_memory_explains_a_failure_in_the_same_second() {
    let mains = [mk_status("first", "c1", ended(1, "Error")), mk_status("second", "c2", ended(137, "OOMKilled"))];
    let facts = read(with_mains("Failed", &mains));
    assert_eq!(facts.cause().container.as_deref(), Some("second"));
    assert_eq!(
        (facts.cause().reason.as_deref(), facts.cause().resource.as_deref()),
        (Some("OOMKilled"), Some("memory"))
    );
    assert!(facts.oom_killed);
}

#[test]
fn an_init_container_of_the_workload_fails_the_pod() {
    let mut failed = with_mains("Failed", &[not_started("main", "PodInitializing")]);
    let change = json!({
        "spec": {"initContainers": [
            {"name": "jobwarden-heartbeat", "image": "sidecar", "restartPolicy": "Always"}, {"name": "clone", "image": "git"},
        ]},
        "status": {"initContainerStatuses": [
            mk_status("jobwarden-heartbeat", "c1", ended(137, "Error")), mk_status("clone", "c2", ended(128, "Error")),
        ]},
    });
    json_patch::merge(&mut failed, &change);
    let cause = read(failed).cause();
    assert_eq!((cause.container.as_deref(), cause.exit_code), (Some("clone"), Some(128)));
}

#[rstest]
#[case::ours("jobwarden-heartbeat")]
#[case::anothers("istio-proxy")]
fn the_exit_of_a_sidecar_is_never_a_cause(#[case] name: &str) {
    let change = json!({
        "spec": {"initContainers": [{"name": name, "image": "sidecar", "restartPolicy": "Always"}]},
        "status": {"initContainerStatuses": [mk_status(name, "c", ended(137, "OOMKilled"))]},
    });
    let mut done = with_mains("Succeeded", &[main_ended(0, "Completed")]);
    json_patch::merge(&mut done, &change);
    let facts = read(done);
    assert_eq!(facts.cause(), Cause::default());
    assert!(!facts.oom_killed);
    let cause = failed_with(&main_ended(3, "Error"), change);
    assert_eq!((cause.container.as_deref(), cause.exit_code), (Some("main"), Some(3)));
}

#[test]
fn the_placeholder_exit_code_of_the_kubelet_is_ignored() {
    let cause = failed_with(&main_ended(137, "ContainerStatusUnknown"), json!({}));
    assert_eq!((cause.kind, cause.exit_code, cause.signal), (None, None, None));
    assert_eq!(cause.reason.as_deref(), Some("ContainerStatusUnknown"));
    let known = [main_ended(137, "ContainerStatusUnknown"), ended_at("second", 2, "Error", "2026-01-02T03:09:00Z")];
    assert_eq!(read(with_mains("Failed", &known)).cause().container.as_deref(), Some("second"));
}

#[test]
fn a_crash_that_is_restarted_in_place_is_not_a_cause_yet() {
    let mut status = mk_status("main", "c-main", json!({"waiting": {"reason": "CrashLoopBackOff"}}));
    status["lastState"] = ended(137, "OOMKilled");
    let facts = read(with_mains("Running", &[status.clone()]));
    assert_eq!(facts.cause(), Cause::default());
    assert!(facts.oom_killed);
    assert_eq!(read(with_mains("Failed", &[status])).cause().exit_code, Some(137));
}

#[test]
fn a_signal_is_reported_where_nothing_else_is_known() {
    let mut status = main_ended(1, "Error");
    status["state"]["terminated"]["signal"] = json!(9);
    let cause = failed_with(&status, json!({}));
    assert_eq!((cause.kind, cause.signal.as_deref()), (Some(CauseKind::Signal), Some("SIGKILL")));
}

#[test]
fn a_long_termination_message_is_cut_at_a_character() {
    let mut status = mk_status("main", "c-main", ended(1, "Error"));
    status["state"]["terminated"]["message"] = json!("ü".repeat(2000));
    let message = read(with_mains("Failed", &[status])).cause().message.expect("there is one");
    assert_eq!(message.len(), 512);
}
