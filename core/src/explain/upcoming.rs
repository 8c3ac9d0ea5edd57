//! Verdicts that will change with time alone: what the table says later of the same evidence.

use crate::{
    evidence::Evidence,
    judge::judge,
    moment::Moment,
    policy::Policy,
    verdict::{Judgement, PodVerdict},
};

/// The most moments that are evaluated; a pod has about a dozen.
const MAX_MOMENTS: usize = 256;

/// A verdict that will change if no further signal arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upcoming {
    /// When.
    pub at: Moment,
    /// The new verdict.
    pub verdict: UpcomingVerdict,
}

/// A verdict to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpcomingVerdict {
    /// The verdict on the Job changes.
    Job(Judgement),
    /// The verdict on a pod changes.
    Pod {
        /// `metadata.name`.
        name: Option<String>,
        /// The verdict.
        verdict: PodVerdict,
    },
}

/// The changes of a judgement that come with time alone: the table is evaluated again at every moment at which it may give another
/// verdict.
pub fn upcoming(evidence: &Evidence, policy: &Policy, judgement: &Judgement) -> Vec<Upcoming> {
    let mut changes = Vec::new();
    let mut before = judgement.clone();
    for _ in 0..MAX_MOMENTS {
        let Some(at) = before.recheck_at else { break };
        let then = judge(evidence, policy, at);
        if then.job != before.job {
            changes.push(Upcoming { at, verdict: UpcomingVerdict::Job(then.clone()) });
        }
        for ((pod, earlier), known) in then.pods.iter().zip(&before.pods).zip(&evidence.pods) {
            if pod.verdict != earlier.verdict {
                let name = Some(known.name.clone());
                changes.push(Upcoming { at, verdict: UpcomingVerdict::Pod { name, verdict: pod.verdict } });
            }
        }
        before = then;
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        builders::evidence::{NOW, at, judged, mk_job, mk_pod, mk_snapshot, unreachable},
        evidence::{JobStage, PodEvidence},
        explain::word,
    };

    fn changes(pod: PodEvidence) -> Vec<(u64, &'static str)> {
        let snapshot = mk_snapshot(mk_job(JobStage::Open), vec![pod]);
        let changes = upcoming(&snapshot.evidence, &snapshot.policy, &judged(&snapshot));
        let brief = |change: Upcoming| match change.verdict {
            UpcomingVerdict::Job(_) => (0, "job"),
            UpcomingVerdict::Pod { verdict, .. } => (change.at.since(at(NOW)).as_secs(), word(verdict)),
        };
        changes.into_iter().map(brief).collect()
    }

    #[test]
    fn a_pod_whose_signals_stop_is_suspected_and_then_lost() {
        // Lease, beat and agent report arrived a second ago.
        assert_eq!(changes(mk_pod("w")), [(29, "suspect"), (119, "lost")]);
    }

    #[test]
    fn a_lost_pod_stays_lost() {
        assert_eq!(changes(unreachable("w", 100)), []);
    }
}
