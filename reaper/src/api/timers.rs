//! The timers that still run: what the table will say later of the same evidence.

use jobwarden_common::api::Timer;

use crate::{api::view, evidence::Evidence, judge::judge, moment::Moment, policy::Policy, verdict::Judgement};

/// As many of them are looked for at most; a pod has a dozen.
const MOST: usize = 256;

/// What time alone will change of a judgement made at `now`, if nothing more is heard: the table is asked again for every
/// moment at which it may say something else.
pub fn upcoming(evidence: &Evidence, policy: &Policy, judgement: &Judgement, now: Moment) -> Vec<Timer> {
    let mut timers = Vec::new();
    let mut before = judgement.clone();
    for _ in 0..MOST {
        let Some(at) = before.next_look else { break };
        let then = judge(evidence, policy, at);
        // A policy may say "never" with an enormous duration.
        let in_seconds = at.since(now).as_secs_f64().ceil();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a saturating cast of a positive number"
        )]
        let in_seconds = in_seconds as u64;
        if then.job != before.job {
            timers.push(Timer { in_seconds, pod: None, verdict: view::of_job(&then) });
        }
        for (uid, verdict) in &then.pods {
            let changed = before.pods.iter().all(|(known, was)| known != uid || was != verdict);
            if changed {
                let name = evidence.pods.iter().find(|pod| pod.uid == *uid).map(|pod| pod.name.clone());
                timers.push(Timer { in_seconds, pod: name, verdict: view::of_pod(*verdict) });
            }
        }
        before = then;
    }
    timers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        enforce::fixtures::{NOW, at, judged, mk_case, mk_job, mk_pod, unreachable},
        evidence::{JobStage, PodEvidence},
    };

    fn timers(pod: PodEvidence) -> Vec<(u64, String)> {
        let case = mk_case(mk_job(JobStage::Open), vec![pod]);
        let timers = upcoming(&case.evidence, &case.policy, &judged(&case), at(NOW));
        timers.into_iter().map(|timer| (timer.in_seconds, timer.verdict.verdict)).collect()
    }

    #[test]
    fn what_falls_silent_is_doubted_and_then_lost() {
        // Lease, beat and agent were last heard a second ago.
        assert_eq!(timers(mk_pod("w")), [(29, "suspect".to_owned()), (119, "lost".to_owned())]);
    }

    #[test]
    fn what_is_lost_stays_so() {
        assert_eq!(timers(unreachable("w", 100)), []);
    }
}
