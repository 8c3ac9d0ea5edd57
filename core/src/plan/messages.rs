//! The messages of outcomes and Events.

use crate::{
    evidence::{JobKind, PodEvidence, Sidecar},
    explain,
    moment::Moment,
    policy::Policy,
    signals::BeatState,
    verdict::{JudgedPod, LostReason, PodVerdict},
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
