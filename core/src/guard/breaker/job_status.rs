//! The status of one Job, as the breaker counts it.

use std::sync::Arc;

use jobwarden_common::identity::{NodeName, PodUid};

use crate::{
    evidence::Evidence,
    policy::Policy,
    verdict::{JobVerdict, Judgement, LostReason},
};

/// The status of one Job, as the breaker counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobStatus {
    /// The Job is open, so that it can be lost.
    pub open: bool,
    /// The nodes where the processes of its pods are gone, with their zones.
    pub process_gone: Vec<(NodeName, Option<Arc<str>>)>,
    /// A pod of it is lost on a healthy node, only because its heartbeats are missing.
    pub heartbeat_lost: bool,
}

impl JobStatus {
    /// The status of a Job by its [`preview`](crate::judge::preview). A lost pod that `is_recorded` as a failed attempt counts no
    /// longer, even if its object still exists.
    pub fn of(
        evidence: &Evidence,
        preview: &Judgement,
        policy: &Policy,
        is_recorded: impl Fn(&PodUid) -> bool,
    ) -> Self {
        if !matches!(
            preview.job,
            JobVerdict::Open | JobVerdict::NotStarting | JobVerdict::Overdue | JobVerdict::ContainerFailed
        ) {
            return Self::default();
        }
        let mut status = Self { open: true, ..Self::default() };
        for judged in preview.judged_pods(evidence, policy) {
            let Some(reason) = judged.verdict.lost().filter(|_| !is_recorded(&judged.pod.uid)) else { continue };
            match (reason, &judged.pod.node) {
                (LostReason::ProcessGone, Some(node)) => {
                    status.process_gone.push((node.name.clone(), node.zone.clone()));
                }
                (LostReason::HeartbeatLost, _) => status.heartbeat_lost = true,
                _ => {}
            }
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        builders::evidence::{NOW, at, mk_job, mk_pod, mk_snapshot},
        evidence::{AgentObservation, JobStage, LastBeat, PodEvidence},
        judge::preview,
        policy::Unseen,
    };

    #[test]
    fn a_pod_that_is_lost_for_its_missing_beats_alone_counts_until_it_is_recorded() {
        let unseen =
            PodEvidence { beat: LastBeat::Running { last: at(1) }, agent: AgentObservation::None, ..mk_pod("w") };
        let mut snapshot = mk_snapshot(mk_job(JobStage::Open), vec![unseen]);
        snapshot.policy.unseen = Unseen::Lost;
        let preview = preview(&snapshot.evidence, &snapshot.policy, at(NOW));
        let status = |is_recorded| JobStatus::of(&snapshot.evidence, &preview, &snapshot.policy, |_| is_recorded);
        assert!(status(false).open && status(false).heartbeat_lost);
        assert!(!status(true).heartbeat_lost);
    }
}
