//! How one Job stands, as the breaker counts it.

use std::{collections::BTreeSet, sync::Arc};

use jobwarden_common::identity::{NodeName, PodUid};

use crate::{
    evidence::{Evidence, PodEvidence, PodPhase},
    policy::{NotStarting, Policy},
    verdict::{JobVerdict, Judgement, LostReason},
};

/// How one Job stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// It is open: it may be lost.
    pub open: bool,
    /// The zones in which it has pods that have not ended.
    pub zones: Vec<Arc<str>>,
    /// Where it is lost or about to be, if it is. Empty for a Job whose pods were never placed.
    pub loss: Option<Vec<Place>>,
}

/// Where a lost pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its node.
    pub node: Option<NodeName>,
    /// The node's zone.
    pub zone: Option<Arc<str>>,
}

impl Standing {
    /// How a Job stands by what is [`in sight`](crate::judge::preview) of it. A pod whose loss has been `settled`, though its
    /// object is still there, counts no more.
    pub fn of(evidence: &Evidence, preview: &Judgement, policy: &Policy, settled: impl Fn(&PodUid) -> bool) -> Self {
        if !matches!(preview.job, JobVerdict::Open | JobVerdict::NotStarting | JobVerdict::Overdue) {
            return Self::default();
        }
        let live = |pod: &&PodEvidence| matches!(pod.phase, PodPhase::Pending | PodPhase::Running);
        let zone = |pod: &PodEvidence| pod.node.as_ref().and_then(|node| node.zone.clone());
        let zones: BTreeSet<_> = evidence.pods.iter().filter(live).filter_map(zone).collect();
        let lost = evidence.pods.iter().zip(&preview.pods).filter(|(pod, (_, verdict))| {
            verdict.lost().is_some_and(|reason| reason != LostReason::NodeGone) && !settled(&pod.uid)
        });
        let places: Vec<_> = lost
            .map(|(pod, _)| Place { node: pod.node.as_ref().map(|node| node.name.clone()), zone: zone(pod) })
            .collect();
        let never_placed = preview.job == JobVerdict::NotStarting && policy.not_starting == NotStarting::Fail;
        let loss = (never_placed || !places.is_empty()).then_some(places);
        Self { open: true, zones: zones.into_iter().collect(), loss }
    }
}
