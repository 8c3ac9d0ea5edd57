//! What time alone will change: what the table will say later of the same evidence.

use crate::{
    evidence::Evidence,
    judge::judge,
    moment::Moment,
    policy::Policy,
    verdict::{Judgement, PodVerdict},
};

/// The most moments that are looked at; a pod has a dozen.
const MAX_MOMENTS: usize = 256;

/// A verdict that will change if no further signal arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upcoming {
    /// When.
    pub at: Moment,
    /// What the verdict will be about, and what it will be.
    pub verdict: UpcomingVerdict,
}

/// A verdict that will be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpcomingVerdict {
    /// On the Job.
    Job(Judgement),
    /// On a pod.
    Pod {
        /// `metadata.name`.
        name: Option<String>,
        /// The verdict.
        verdict: PodVerdict,
    },
}

/// What time alone will change of a judgement made at `now`: the table is asked again for every moment at which it may say
/// something else.
pub fn upcoming(evidence: &Evidence, policy: &Policy, judgement: &Judgement) -> Vec<Upcoming> {
    let mut changes = Vec::new();
    let mut before = judgement.clone();
    for _ in 0..MAX_MOMENTS {
        let Some(at) = before.recheck_at else { break };
        let then = judge(evidence, policy, at);
        if then.job != before.job {
            changes.push(Upcoming { at, verdict: UpcomingVerdict::Job(then.clone()) });
        }
        for (uid, verdict) in &then.pods {
            let changed = before.pods.iter().all(|(known, was)| known != uid || was != verdict);
            if changed {
                let name = evidence.pods.iter().find(|pod| pod.uid == *uid).map(|pod| pod.name.clone());
                changes.push(Upcoming { at, verdict: UpcomingVerdict::Pod { name, verdict: *verdict } });
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
