//! The messages of outcomes and Events.

use crate::{
    evidence::{ContainerState, ExitedContainer, JobKind, PodEvidence, Sidecar},
    explain,
    moment::Moment,
    policy::Policy,
    signals::BeatState,
    verdict::{JudgedPod, LostReason, PodVerdict, StuckState},
};

/// Writes the messages about one Job at one moment.
#[derive(Clone, Copy)]
pub(super) struct Messages<'a> {
    pub(super) kind: JobKind,
    pub(super) policy: &'a Policy,
    pub(super) now: Moment,
}

impl Messages<'_> {
    /// Why a pod is lost, in a sentence.
    pub(super) fn lost(&self, judged: JudgedPod<'_>, reason: LostReason) -> String {
        let pod = judged.pod;
        let on = pod.node.as_ref().map(|node| format!(" on node {}", node.name)).unwrap_or_default();
        let rule = PodVerdict::Lost(reason).row().rule();
        format!("Pod {}{on} is lost: {rule} ({}).", pod.name, self.facts(judged))
    }

    /// The signals and the state of a pod in one line.
    fn facts(&self, judged: JudgedPod<'_>) -> String {
        let facts = explain::facts(judged, self.now);
        let statements: Vec<_> = facts.iter().map(|fact| format!("{}: {}", fact.of, fact.is)).collect();
        statements.join("; ")
    }

    /// That no signal shows a pod alive, and what to check.
    pub(super) fn unseen(&self, judged: JudgedPod<'_>) -> String {
        let pod = judged.pod;
        let unseen = format!(
            "No signal shows that pod {} is alive although its node is healthy ({}).",
            pod.name,
            self.facts(judged)
        );
        let advice = match (judged.signals().beat.state, pod.sidecar) {
            (_, Sidecar::Absent) => {
                "The pod has no sidecar because none was injected at admission, and the agent on its node does not report it: \
                 check that the agent runs there."
            }
            (_, Sidecar::LeftOut) => {
                "Admission left the sidecar out, as the annotation jobwarden.io/no-sidecar of the pod says, and the agent on its node \
                 does not report it: check that the agent runs there."
            }
            (BeatState::Never, _) => {
                "No beat has ever arrived: a NetworkPolicy in its namespace may block egress to the Service jobwarden-reaper, \
                 port 8444; the sidecar's log says why it cannot send beats."
            }
            _ => {
                "Beats arrived earlier: check whether a NetworkPolicy that blocks egress to the Service jobwarden-reaper, port \
                 8444, is new, and whether the network of the node works."
            }
        };
        format!("{unseen} {advice}")
    }

    /// That a pod has no sidecar.
    pub(super) fn sidecar_missing(pod: &PodEvidence) -> String {
        format!(
            "Pod {} has no sidecar because none was injected at admission; only the agent on its node can report that it is alive.",
            pod.name
        )
    }

    /// That the sidecar of a pod does not work.
    pub(super) fn sidecar_fault(&self, judged: JudgedPod<'_>) -> String {
        format!("Pod {}: {}.", judged.pod.name, self.facts(judged))
    }

    /// That the sidecar of a pod keeps the pod from starting, and what to do.
    pub(super) fn sidecar_blocks(&self, judged: JudgedPod<'_>, says: Option<&str>) -> String {
        let advice = "The heartbeat sidecar keeps the pod from starting; the workload is not at fault and is not failed for it. Check \
                      that the nodes can pull the sidecar's image, and that a token can be mounted; to run the Job without a sidecar, \
                      set the label jobwarden.io/inject: \"false\" on it.";
        let says = says.map(|says| format!(" The kubelet says: {says}.")).unwrap_or_default();
        format!("{}{says} {advice}", self.sidecar_fault(judged))
    }

    /// What keeps a pod from ending, and what to do.
    pub(super) fn stuck_state(&self, judged: JudgedPod<'_>, stuck: StuckState) -> String {
        let pod = judged.pod;
        let (name, long) = (&pod.name, humantime::format_duration(self.policy.start_timeout));
        match stuck {
            StuckState::Unscheduled => {
                let says = pod.cause.message.as_deref().map(|message| format!(" The scheduler says: {message}"));
                let says = says.unwrap_or_else(|| " The scheduler has not said why.".to_owned());
                let after = self.policy.unscheduled_timeout.map(humantime::format_duration);
                let then = after.map_or_else(
                    || "It goes on waiting, because unscheduled-timeout is never.".to_owned(),
                    |after| format!("It is lost after {after} (unscheduled-timeout)."),
                );
                format!("Pod {name} has been without a node for {long}.{says} {then}")
            }
            StuckState::NodeNotReady => {
                let node = pod.node.as_ref().map(|node| node.name.to_string()).unwrap_or_default();
                format!(
                    "Pod {name} has not started for {long}, because its node {node} is not ready ({}). Repair the node, or delete the \
                     pod so that it is created again elsewhere.",
                    self.facts(judged)
                )
            }
            StuckState::ContainerExited => {
                let exited = pod.exited.as_ref();
                let which = exited.map(|it| format!("{} ended with exit code {}", it.container, it.exit_code));
                let goes_on: Vec<_> =
                    pod.mains.iter().filter(|main| main.state != ContainerState::Terminated).collect();
                let goes_on: Vec<_> = goes_on.iter().map(|main| main.name.as_str()).collect();
                format!(
                    "Container {} in pod {name} more than {long} ago, and the pod runs on because of {}. Make the others end with it, or \
                     make them native sidecars (initContainers with restartPolicy Always); with on-container-exit: fail, the Job is \
                     failed as soon as a container fails.",
                    which.unwrap_or_default(),
                    goes_on.join(", ")
                )
            }
        }
    }

    /// That a lost pod may have no replacement before its node is back.
    pub(super) fn stranded(&self, judged: JudgedPod<'_>) -> String {
        let pod = judged.pod;
        let node = pod.node.as_ref().map(|node| node.name.to_string()).unwrap_or_default();
        let then = self.policy.stranded_after.map(humantime::format_duration).map_or_else(
            || "The Job waits for the node, because stranded-after is never.".to_owned(),
            |after| format!("The Job is failed {after} after the deletion of the pod (stranded-after) if nothing else of it runs."),
        );
        format!(
            "The Job may replace pod {} only once the pod has ended (podReplacementPolicy Failed, or podFailurePolicy), and node {node} \
             cannot report that while it is away. {then} To go on at once, repair or delete the node, taint it as out of service, or set \
             jobwarden.io/safe-to-duplicate if two attempts may run side by side.",
            pod.name
        )
    }

    /// That a pod is alive after it was reported for these reasons.
    pub(super) fn recovered(&self, judged: JudgedPod<'_>, over: &[&str]) -> String {
        format!(
            "Pod {} is alive ({}); it was reported before ({}).",
            judged.pod.name,
            self.facts(judged),
            over.join(", ")
        )
    }

    /// Why a Job with a failed container is failed.
    pub(super) fn container_failed(pods: &[PodEvidence]) -> String {
        let failed = |pod: &PodEvidence| pod.exited.clone().filter(|exited| exited.exit_code != 0);
        let which = pods.iter().find_map(|pod| Some((pod, failed(pod)?)));
        let which = which.map(|(pod, exited)| {
            let ExitedContainer { container, exit_code, .. } = exited;
            format!(
                "Container {container} of pod {} failed with exit code {exit_code} while another one runs on",
                pod.name
            )
        });
        format!("{} (on-container-exit: fail).", which.unwrap_or_default())
    }

    /// That a pod is stuck in termination.
    pub(super) fn stuck(&self, judged: JudgedPod<'_>) -> String {
        format!("Pod {} does not terminate: {}.", judged.pod.name, self.facts(judged))
    }

    /// That the beat of a pod is late.
    pub(super) fn late(&self, judged: JudgedPod<'_>) -> String {
        format!("The beat of pod {} is late ({}).", judged.pod.name, self.facts(judged))
    }

    /// That the signals of a pod have resumed; `is_replaced` if its loss has been recorded.
    pub(super) fn signals_resumed(&self, judged: JudgedPod<'_>, is_replaced: bool) -> String {
        let resumed = format!("Signals from pod {} have resumed ({}).", judged.pod.name, self.facts(judged));
        if is_replaced {
            format!("{resumed} Its loss has been reported and stands; its sidecar is told to stop.")
        } else {
            resumed
        }
    }

    /// Why a Job counts as not starting.
    pub(super) fn not_starting(&self) -> String {
        let timeout = humantime::format_duration(self.policy.start_timeout);
        format!("The Job has had no pod for {timeout}; check its Events for quota or admission errors.")
    }

    /// Why a Job is overdue.
    pub(super) fn overdue(&self) -> String {
        let timeout = self.policy.active_timeout.map(humantime::format_duration);
        let timeout = timeout.map(|timeout| format!(" of {timeout}")).unwrap_or_default();
        let who = match self.kind {
            JobKind::Job => "The Job",
            JobKind::BarePod => "The pod",
        };
        format!("{who} has run longer than its active-timeout{timeout}.")
    }
}

#[cfg(test)]
mod tests;
