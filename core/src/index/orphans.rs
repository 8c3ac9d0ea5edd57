//! Ended pods that no known Job controls.

use super::Index;
use crate::orphans::Candidate;

impl Index {
    /// The ended pods of enrolled namespaces that no known Job controls. Whether their Jobs exist is for a live read to say: a Job may be
    /// missing here because a watch has not delivered it, or because it has opted out.
    pub fn orphan_candidates(&self) -> Vec<Candidate> {
        let ended = self.pods.values().map(|pod| &pod.facts).filter(|pod| !pod.is_live() && pod.grace.is_none());
        let candidates = ended.filter_map(|pod| {
            let (namespace, job) = match (&pod.left_behind, &pod.claim, &pod.job) {
                (Some(left), ..) => (&*left.namespace, &left.job),
                (None, Some(claim), Some(job)) => (claim.namespace(), job),
                _ => return None,
            };
            let is_orphan = !self.knows(job) && self.is_enrolled(namespace);
            is_orphan.then(|| Candidate {
                uid: pod.uid.clone(),
                name: pod.name.clone(),
                namespace: namespace.to_owned(),
                job: job.clone(),
            })
        });
        candidates.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        builders::facts::{mk_claim, mk_job, mk_pod},
        evidence::PodPhase,
        facts::pod::{LeftBehind, PodFacts},
        moment::Moment,
    };

    const NOW: Moment = Moment::at(Duration::from_secs(1));

    fn ended(uid: &str, job: &str) -> PodFacts {
        PodFacts { phase: PodPhase::Failed, ..mk_pod(uid, job) }
    }

    /// What the garbage collector makes of a pod when its Job is deleted without it.
    fn released(pod: PodFacts, job: &str) -> PodFacts {
        let left = LeftBehind { namespace: "ort".into(), job: job.into() };
        PodFacts { job: None, claim: None, left_behind: Some(Box::new(left)), ..pod }
    }

    fn candidates(index: &Index) -> Vec<String> {
        let mut found: Vec<_> =
            index.orphan_candidates().iter().map(|it| format!("{} of {}", it.uid, it.job)).collect();
        found.sort();
        found
    }

    fn mk_index() -> Index {
        let mut index = Index::default();
        index.set_enrolled("ort", true, NOW);
        index.namespaces_listed(|_| true, NOW);
        index
    }

    #[test]
    fn a_pod_is_a_candidate_once_its_job_is_forgotten() {
        let mut index = mk_index();
        index.apply_job(mk_job("job"), NOW);
        index.apply_pod(ended("w", "job"), NOW);
        index.apply_pod(released(ended("w", "job"), "job"), NOW);
        assert!(candidates(&index).is_empty(), "its Job is known");
        index.delete_job(&"job".into(), NOW);
        assert!(candidates(&index).is_empty(), "the outcome of its Job is not recorded yet");
        index.forget_job(&"job".into());
        assert_eq!(candidates(&index), ["w of job"]);
    }

    #[test]
    fn a_reaper_that_has_never_seen_the_job_finds_the_pod() {
        let mut index = mk_index();
        index.apply_pod(released(ended("left", "job"), "job"), NOW);
        index.apply_pod(PodFacts { claim: Some(Box::new(mk_claim("ort", "gone"))), ..ended("owned", "gone") }, NOW);
        assert_eq!(candidates(&index), ["left of job", "owned of gone"]);
        index.set_enrolled("ort", false, NOW);
        assert!(candidates(&index).is_empty(), "nothing that is not enrolled");
    }

    #[test]
    fn what_runs_or_is_being_deleted_is_no_candidate() {
        let mut index = mk_index();
        index.apply_pod(released(mk_pod("runs", "job"), "job"), NOW);
        index.apply_pod(PodFacts { grace: Some(Duration::ZERO), ..released(ended("goes", "job"), "job") }, NOW);
        assert!(candidates(&index).is_empty());
    }
}
