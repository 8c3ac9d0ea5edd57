//! The status of one Job, as the breaker counts it.

use std::{collections::BTreeSet, sync::Arc};

use jobwarden_common::identity::{NodeName, PodUid};

use crate::{
    evidence::{Evidence, PodEvidence, PodPhase},
    policy::{NotStarting, Policy},
    verdict::{JobVerdict, Judgement, LostReason},
};

/// The status of one Job, as the breaker counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobStatus {
    /// The Job is open, so that it can be lost.
    pub open: bool,
    /// The zones of its pods that have not ended.
    pub zones: Vec<Arc<str>>,
    /// The locations of its pods that are lost or about to be; `None` if there is no loss, empty if no pod was ever created.
    pub loss: Option<Vec<Location>>,
}

/// The location of a lost pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Its node.
    pub node: Option<NodeName>,
    /// The zone of the node.
    pub zone: Option<Arc<str>>,
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
        let live = |pod: &&PodEvidence| matches!(pod.phase, PodPhase::Pending | PodPhase::Running);
        let zone = |pod: &PodEvidence| pod.node.as_ref().and_then(|node| node.zone.clone());
        let zones: BTreeSet<_> = evidence.pods.iter().filter(live).filter_map(zone).collect();
        let lost = preview.judged_pods(evidence, policy).filter(|judged| {
            judged.verdict.lost().is_some_and(|reason| reason != LostReason::NodeGone) && !is_recorded(&judged.pod.uid)
        });
        let locations: Vec<_> = lost
            .map(|judged| Location {
                node: judged.pod.node.as_ref().map(|node| node.name.clone()),
                zone: zone(judged.pod),
            })
            .collect();
        let has_no_pod = preview.job == JobVerdict::NotStarting && policy.not_starting == NotStarting::Fail;
        let loss = (has_no_pod || !locations.is_empty()).then_some(locations);
        Self { open: true, zones: zones.into_iter().collect(), loss }
    }
}
