//! Objects as the API server returns them, read by jobwarden-core.

use std::time::Duration;

use jiff::Timestamp;
use jobwarden_common::names::{FINALIZER, SIDECAR_CONTAINER, annotation, label, label_value};
use k8s_openapi::{
    api::{
        batch::v1::{Job as JobObject, JobCondition, JobSpec, JobStatus},
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{
            Container as ContainerObject, ContainerState, ContainerStateRunning, ContainerStateTerminated,
            ContainerStateWaiting, ContainerStatus, Node as NodeObject, NodeCondition, NodeSpec, NodeStatus,
            NodeSystemInfo, Pod as PodObject, PodSpec, PodStatus, Taint,
        },
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time},
};

use crate::{
    fault::Forgery,
    history::JobPlan,
    state::{
        forged::Forged,
        job::{Ending, Job, job_uid},
        node::{Node, node_name},
        pod::{Container, HELPER_SLOT, Pod, Run},
    },
};

/// No decision depends on this time.
fn some_time() -> Time {
    Time(Timestamp::UNIX_EPOCH)
}

/// What the clock of the API server shows.
pub(crate) fn wall(now: Duration) -> Timestamp {
    let ms = i64::try_from(now.as_millis()).unwrap_or(0);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(crate) fn job(number: usize, job: &Job, plan: &JobPlan) -> JobObject {
    let text = |duration| humantime::format_duration(duration).to_string();
    let mut annotations: Vec<(&str, String)> = vec![
        (annotation::JOB_ID, number.to_string()),
        (annotation::SUSPECT_AFTER, text(plan.policy.suspect_after)),
        (annotation::LOST_AFTER, text(plan.policy.lost_after)),
        (annotation::START_TIMEOUT, text(plan.policy.start_timeout)),
        (annotation::RETENTION, text(plan.policy.retention)),
        (annotation::ON_LOST, plan.policy.on_lost.to_owned()),
        (annotation::UNSEEN, plan.policy.unseen.to_owned()),
        (annotation::NOT_STARTING, plan.policy.not_starting.to_owned()),
        (annotation::ON_CONTAINER_EXIT, plan.policy.on_container_exit.to_owned()),
        (annotation::STRANDED_AFTER, plan.policy.stranded_after.map_or_else(|| "never".to_owned(), text)),
    ];
    let by_choice = [
        (annotation::UNSCHEDULED_TIMEOUT, plan.policy.unscheduled_timeout),
        (annotation::ACTIVE_TIMEOUT, plan.policy.active_timeout),
        (annotation::STALL_AFTER, plan.policy.stall_after),
        (annotation::INIT_TIMEOUT, plan.policy.init_timeout),
    ];
    annotations.extend(by_choice.into_iter().filter_map(|(key, after)| Some((key, text(after?)))));
    if plan.safe_to_duplicate {
        annotations.push((annotation::SAFE_TO_DUPLICATE, "true".to_owned()));
    }
    let finalizers = [(job.finalizer, FINALIZER), (job.orphaning, "orphan")];
    let finalizers: Vec<_> = finalizers.iter().filter(|(is, _)| *is).map(|(_, name)| (*name).to_owned()).collect();
    let owner = plan.owned.then(|| OwnerReference {
        api_version: "batch/v1".to_owned(),
        kind: "CronJob".to_owned(),
        name: "owner".to_owned(),
        uid: "owner".to_owned(),
        controller: Some(true),
        ..OwnerReference::default()
    });
    let labels =
        [(job.labelled, label::ENROLLED, label_value::TRUE), (job.opted_out > 0, label::INJECT, label_value::FALSE)];
    let labels =
        labels.iter().filter(|(is, ..)| *is).map(|(_, key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let status = JobStatus {
        conditions: Some(conditions(job)),
        active: i32::try_from(job.active).ok(),
        failed: i32::try_from(job.failed).ok(),
        succeeded: i32::try_from(job.succeeded).ok(),
        start_time: job.started.map(|(at, _)| Time(wall(at))),
        ..JobStatus::default()
    };
    JobObject {
        metadata: ObjectMeta {
            uid: Some(job_uid(number).to_string()),
            name: Some(format!("job-{number}")),
            namespace: Some(namespace_name(plan.namespace)),
            labels: Some(labels),
            annotations: Some(annotations.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            finalizers: Some(finalizers),
            owner_references: owner.map(|owner| vec![owner]),
            deletion_timestamp: job.deleting.then(some_time),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            suspend: Some(job.suspended > 0),
            managed_by: plan.managed_elsewhere.then(|| "example.com/controller".to_owned()),
            pod_replacement_policy: plan.replaces_only_failed.then(|| "Failed".to_owned()),
            backoff_limit: i32::try_from(plan.backoff_limit).ok(),
            parallelism: i32::try_from(if job.scaled_down > 0 { 1 } else { plan.pods }).ok(),
            completions: i32::try_from(plan.pods).ok(),
            ..JobSpec::default()
        }),
        status: Some(status),
    }
}

fn conditions(job: &Job) -> Vec<JobCondition> {
    let is_true = |type_: &str, reason: &str| JobCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        ..JobCondition::default()
    };
    let mut conditions = match &job.ending {
        None => Vec::new(),
        Some(Ending::Succeeding) => vec![is_true("SuccessCriteriaMet", "CompletionsReached")],
        Some(Ending::Complete) => {
            vec![is_true("SuccessCriteriaMet", "CompletionsReached"), is_true("Complete", "CompletionsReached")]
        }
        Some(Ending::Failing(reason)) => vec![is_true("FailureTarget", reason)],
        Some(Ending::Failed(reason)) => vec![is_true("FailureTarget", reason), is_true("Failed", reason)],
    };
    if job.is_suspended {
        conditions.push(is_true("Suspended", "JobSuspended"));
    }
    conditions
}

pub(crate) fn pod(pod: &Pod, plan: &JobPlan) -> PodObject {
    let named = |name: String| ContainerObject { name, ..ContainerObject::default() };
    let containers = &pod.status.containers;
    let mut init = Vec::new();
    let mut init_statuses = Vec::new();
    if let Some(sidecar) = &containers.sidecar {
        init.push(ContainerObject { restart_policy: Some("Always".to_owned()), ..named(SIDECAR_CONTAINER.to_owned()) });
        init_statuses.push(status(pod, SIDECAR_CONTAINER, 1, sidecar));
    }
    if let Some(helper) = &containers.helper {
        init.push(ContainerObject { restart_policy: Some("Always".to_owned()), ..named("proxy".to_owned()) });
        let started = Some(helper.is_running() && helper.warm);
        init_statuses.push(ContainerStatus { started, ..status(pod, "proxy", HELPER_SLOT, helper) });
    }
    if let Some(own) = &containers.init {
        init.push(named("prepare".to_owned()));
        init_statuses.push(status(pod, "prepare", 2, own));
    }
    let mains = containers.mains.iter().enumerate();
    let main_statuses = mains.map(|(index, main)| status(pod, &main_name(index), 3 + index, main)).collect();
    let owner = pod.owned.then(|| OwnerReference {
        api_version: "batch/v1".to_owned(),
        kind: "Job".to_owned(),
        name: format!("job-{}", pod.job),
        uid: job_uid(pod.job).to_string(),
        controller: Some(true),
        ..OwnerReference::default()
    });
    PodObject {
        metadata: ObjectMeta {
            uid: Some(pod.uid.to_string()),
            name: Some(pod.name.clone()),
            namespace: Some(namespace_name(plan.namespace)),
            labels: Some([(label::CONTROLLER_UID.to_owned(), job_uid(pod.job).to_string())].into()),
            owner_references: owner.map(|owner| vec![owner]),
            deletion_timestamp: pod.deleting.then(some_time),
            deletion_grace_period_seconds: pod.deleting.then(|| i64::try_from(plan.grace.as_secs()).unwrap_or(0)),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            node_name: pod.node.map(|node| node_name(node).to_string()),
            containers: (0..containers.mains.len()).map(|index| named(main_name(index))).collect(),
            init_containers: Some(init),
            restart_policy: Some(if plan.restarts { "OnFailure" } else { "Never" }.to_owned()),
            ..PodSpec::default()
        }),
        status: Some(PodStatus {
            phase: Some(pod.status.phase.as_str().to_owned()),
            reason: pod.status.reason.clone(),
            container_statuses: Some(main_statuses),
            init_container_statuses: Some(init_statuses),
            ..PodStatus::default()
        }),
    }
}

/// The name of a namespace.
pub(crate) fn namespace_name(namespace: usize) -> String {
    format!("work-{namespace}")
}

/// The UID of a pod with a forged owner.
pub(crate) fn forged_uid(forged: usize) -> String {
    format!("forged-{forged}")
}

/// A pod with a forged owner, as its creator writes it.
pub(crate) fn forged(number: usize, it: &Forged, plan: &JobPlan) -> PodObject {
    let uid = job_uid(it.job).to_string();
    let (namespace, labels) = match it.forgery {
        Forgery::Namespace => ("attacker".to_owned(), [(label::CONTROLLER_UID.to_owned(), uid.clone())].into()),
        Forgery::Label => (namespace_name(plan.namespace), std::collections::BTreeMap::new()),
    };
    let owner = OwnerReference {
        api_version: "batch/v1".to_owned(),
        kind: "Job".to_owned(),
        name: format!("job-{}", it.job),
        uid,
        controller: Some(true),
        ..OwnerReference::default()
    };
    PodObject {
        metadata: ObjectMeta {
            uid: Some(forged_uid(number)),
            name: Some(forged_uid(number)),
            namespace: Some(namespace),
            labels: Some(labels),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec { node_name: Some(node_name(it.node).to_string()), ..PodSpec::default() }),
        status: Some(PodStatus { phase: Some(it.phase.to_owned()), ..PodStatus::default() }),
    }
}

fn main_name(index: usize) -> String {
    format!("main-{index}")
}

fn status(pod: &Pod, name: &str, slot: usize, container: &Container) -> ContainerStatus {
    let id = |run| Some(format!("containerd://{}", pod.container_id(slot, run)));
    let ended = |code: i32, oom: bool, run| ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: code,
            reason: Some(
                if oom {
                    "OOMKilled"
                } else if code == 0 {
                    "Completed"
                } else {
                    "Error"
                }
                .to_owned(),
            ),
            container_id: id(run),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    };
    let waiting = |reason: &str| ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message: None }),
        ..ContainerState::default()
    };
    let running = ContainerState { running: Some(ContainerStateRunning::default()), ..ContainerState::default() };
    let run = container.run;
    let (state, last_state) = match container.state {
        Run::Idle => (waiting(container.problem.unwrap_or("ContainerCreating")), None),
        // The end of the previous run, as the kubelet reports it.
        Run::Running => (running, (run > 1).then(|| ended(1, false, run - 1))),
        Run::Ended { code, oom } => (ended(code, oom, run), None),
        Run::Restarting { code, oom } => (waiting("CrashLoopBackOff"), Some(ended(code, oom, run))),
    };
    ContainerStatus {
        name: name.to_owned(),
        container_id: if run > 0 { id(run) } else { None },
        restart_count: i32::try_from(run.saturating_sub(1)).unwrap_or(i32::MAX),
        state: Some(state),
        last_state,
        ..ContainerStatus::default()
    }
}

pub(crate) fn node(number: usize, node: &Node) -> NodeObject {
    let taints = [
        (node.out_of_service > 0, "node.kubernetes.io/out-of-service", "NoExecute"),
        (node.shut_down > 0 && !node.ready, "node.cloudprovider.kubernetes.io/shutdown", "NoSchedule"),
        (!node.ready, "node.kubernetes.io/unreachable", "NoSchedule"),
    ];
    let taints = taints.into_iter().filter(|(is, ..)| *is).map(|(_, key, effect)| Taint {
        key: key.to_owned(),
        effect: effect.to_owned(),
        ..Taint::default()
    });
    let info = NodeSystemInfo { boot_id: format!("boot-{}", node.reported_boot), ..NodeSystemInfo::default() };
    let ready = NodeCondition {
        type_: "Ready".to_owned(),
        status: if node.ready { "True" } else { "Unknown" }.to_owned(),
        last_transition_time: Some(Time(wall(node.ready_changed))),
        ..NodeCondition::default()
    };
    let labels = [("topology.kubernetes.io/zone".to_owned(), format!("zone-{}", node.zone))];
    NodeObject {
        metadata: ObjectMeta {
            name: Some(node_name(number).to_string()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec { taints: Some(taints.collect()), ..NodeSpec::default() }),
        status: Some(NodeStatus { conditions: Some(vec![ready]), node_info: Some(info), ..NodeStatus::default() }),
    }
}

pub(crate) fn lease(number: usize, node: &Node) -> Lease {
    Lease {
        metadata: ObjectMeta { name: Some(node_name(number).to_string()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec { renew_time: Some(MicroTime(wall(node.renewed))), ..LeaseSpec::default() }),
    }
}
