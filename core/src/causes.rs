//! Causes: why a pod or Job ended as it did.
//!
//! ```text
//!  pod status ──► facts::pod::cause ─┐
//!  kubelet's start problem ─────────┼─► of_attempt ─┬─► of_failed_job ──► outcome
//!  Events of pod and node ──────────┘               └─► of_loss ────────► outcome
//!  Job, namespace, owner's Events ──► of_deletion ──────────────────────► outcome
//! ```
//!
//! | kind | how it is recognized | source (Kubernetes 1.35) |
//! |---|---|---|
//! | `OOMKilled` | a container's reason `OOMKilled`; an exit code 137 beside the node's Event `SystemOOM` | the runtime; `systemOOMEvent` in `pkg/kubelet/oom` |
//! | `Evicted` | the pod's reason `Evicted`, the resource from its message | `Reason`, `nodeLowMessageFmt`, … in `pkg/kubelet/eviction/helpers.go` |
//! | `Preempted` | `DisruptionTarget` by `PreemptionByScheduler`; the pod's reason `Preempting`; the Event `Preempted` | `PodReasonPreemptionByScheduler` in `core/v1`; `PreemptContainer` in `pkg/kubelet/events`; `pkg/scheduler/framework/preemption` |
//! | `Drained` | `DisruptionTarget` by `EvictionByEvictionAPI` | `pkg/registry/core/pod/storage/eviction.go` |
//! | `Tainted` | `DisruptionTarget` by `DeletionByTaintManager` or `DeletionByDeviceTaintManager`; the Event `TaintManagerEviction` | `pkg/controller/tainteviction`, `pkg/controller/devicetainteviction` |
//! | `NodeShutdown` | the pod's reason `Terminated` or `NodeShutdown` | `nodeShutdownReason`, `NodeShutdownNotAdmittedReason` in `pkg/kubelet/nodeshutdown` |
//! | `NodeLost` | the pod's reason `NodeLost`; `DisruptionTarget` by `DeletionByPodGC`; the verdict of jobwarden | `NodeUnreachablePodReason` in `pkg/util/node`; `pkg/controller/podgc` |
//! | `Unschedulable` | `PodScheduled` being false, by `Unschedulable` or `SchedulingGated` | `PodReasonUnschedulable`, `PodReasonSchedulingGated` in `core/v1` |
//! | `NotAdmitted` | the pod's reason `OutOf…`, `NodeAffinity`, `UnexpectedAdmissionError`, … | `pkg/kubelet/lifecycle/predicate.go` |
//! | `ImagePullFailed` | `ErrImagePull`, `ImagePullBackOff`, `InvalidImageName`, … | `pkg/kubelet/images/types.go` |
//! | `CreateFailed` | `CreateContainerConfigError`, `CreateContainerError`, `RunContainerError`, `StartError`, … | `pkg/kubelet/kuberuntime/kuberuntime_container.go`; the runtime |
//! | | of a pod that never started: the Events `FailedMount`, `FailedMapVolume`, `FailedAttachVolume`, `FailedCreatePodSandBox` | `pkg/kubelet/events`; `pkg/controller/volume/attachdetach` |
//! | `ExitCode`, `Signal` | a container's exit code, 128 + n being signal n | the convention of POSIX shells, which runtimes follow |
//! | `DeadlineExceeded` | the pod's or the Job's reason of that name | `pkg/kubelet/active_deadline.go`; `JobReasonDeadlineExceeded` in `batch/v1` |
//! | `PodFailurePolicy` | the Job's reason of that name | `JobReasonPodFailurePolicy` in `batch/v1` |
//! | `Deleted` | the deletion timestamp of the pod, the Job; by whom: the owner's Event `SuccessfulDelete`, the namespace's deletion timestamp | `pkg/controller/cronjob`; `pkg/controller/namespace` |

mod attempt;
mod deletion;
mod events;
mod job;
mod signal;
mod start;
mod words;

pub use self::{
    attempt::{of_attempt, of_loss, of_start_problem},
    deletion::{DeletionFacts, Writer, asks_owner_again, of_deletion, with_namespace},
    events::{EventFact, SYSTEM_OOM, asks_node, asks_pod, with_node_events, with_pod_events},
    job::{named_pod, of_failed_job},
    start::{asks_start, with_start_events},
};
pub(crate) use self::{
    job::could_not_start,
    signal::signal_name,
    words::{of_container_word, of_disruption, of_pod_word, of_scheduling},
};

/// The components that end pods and Jobs, by their own names (`reportingController`, `--controllers`).
mod by {
    pub(super) const KUBELET: &str = "kubelet";
    pub(super) const SCHEDULER: &str = "kube-scheduler";
    pub(super) const EVICTION_API: &str = "eviction API";
    pub(super) const TAINT_EVICTION: &str = "taint-eviction-controller";
    pub(super) const DEVICE_TAINT_EVICTION: &str = "device-taint-eviction-controller";
    pub(super) const POD_GC: &str = "pod-garbage-collector-controller";
    pub(super) const NODE_LIFECYCLE: &str = "node-lifecycle-controller";
    pub(super) const JOB: &str = "job-controller";
    pub(super) const CRON_JOB: &str = "cronjob-controller";
    pub(super) const NAMESPACE: &str = "namespace-controller";
    pub(super) const US: &str = "jobwarden";
}
