//! Pods that name a Job as their controller, and are not of that Job: they are not indexed, and counted.

use jobwarden_common::identity::{JobUid, PodUid};

use super::{Index, foreign_pods::ForeignPods};
use crate::{facts::pod::PodFacts, moment::Moment};

/// Where a pod stands with the Job that it names.
pub(super) enum Standing {
    /// It is one of its pods.
    Member,
    /// The Job is not known yet.
    Waits,
    /// It is not one of its pods.
    Foreign,
}

impl Index {
    /// The pods that named a Job that they are not of.
    pub fn foreign_pods(&self) -> &ForeignPods {
        &self.foreign
    }

    /// Where a pod stands with the Job that it names. A pod that has been admitted once stays: the Job controller has created it or
    /// adopted it.
    pub(super) fn standing(&mut self, facts: &PodFacts) -> Standing {
        let (Some(uid), Some(claim)) = (&facts.job, &facts.claim) else { return Standing::Member };
        let known = self.pods.get(&facts.uid).map(|pod| &pod.facts);
        if known.is_some_and(|known| known.job.as_ref() == Some(uid) && known.claim.is_none()) {
            return Standing::Member;
        }
        let Some(job) = self.jobs.get(uid).and_then(|job| job.facts.as_ref()) else { return Standing::Waits };
        match job.members.admit(&job.identity.namespace, claim) {
            Ok(()) => Standing::Member,
            Err(mismatch) => {
                self.foreign.add(&facts.uid, mismatch);
                Standing::Foreign
            }
        }
    }

    /// The Job is known now: the pods that have named it before are its own, or leave the index.
    pub(super) fn admit_waiting(&mut self, job: &JobUid, now: Moment) {
        let Some(record) = self.jobs.get(job) else { return };
        let pods: Vec<_> = record.pods.iter().cloned().collect();
        for uid in pods {
            let Some(facts) = self.pods.get(&uid).map(|pod| pod.facts.clone()) else { continue };
            match self.standing(&facts) {
                Standing::Foreign => self.drop_foreign(&uid, now),
                Standing::Member | Standing::Waits => {
                    if let Some(pod) = self.pods.get_mut(&uid) {
                        pod.facts.claim = None;
                    }
                }
            }
        }
    }

    /// Removes a pod that had been indexed before it turned out to be foreign. Nothing of it is kept with the Job.
    pub(super) fn drop_foreign(&mut self, uid: &PodUid, now: Moment) {
        let Some(pod) = self.remove_pod(uid) else { return };
        if let Some(job) = &pod.facts.job {
            self.pod_changed(Some(job), now);
            self.drop_job_if_idle(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jobwarden_common::{beat::Phase, identity::JobUid};

    use super::*;
    use crate::{
        builders::facts::{mk_claim, mk_job, mk_pod, mk_report},
        evidence::PodPhase,
        facts::job::JobFacts,
        facts::membership::{Claim, Members},
        index::BeatRejected,
    };

    const NOW: Moment = Moment::at(Duration::from_secs(1));

    /// A pod of another namespace that names the Job, with its UID as label.
    fn forged(uid: &str) -> PodFacts {
        PodFacts { claim: Some(Box::new(mk_claim("attacker", "job"))), ..mk_pod(uid, "job") }
    }

    fn pods_of(index: &Index, job: &str) -> Vec<String> {
        let evidence = index.evidence(&JobUid::from(job)).map(|(evidence, _)| evidence);
        evidence.into_iter().flat_map(|evidence| evidence.pods).map(|pod| pod.uid.to_string()).collect()
    }

    fn counted(index: &Index) -> [u64; 3] {
        index.foreign.counts
    }

    #[test]
    fn a_pod_of_another_namespace_never_joins_a_job() {
        let mut index = Index::default();
        index.apply_job(mk_job("job"), NOW);
        index.apply_pod(mk_pod("own", "job"), NOW);
        index.take_changed();
        for phase in [PodPhase::Pending, PodPhase::Running, PodPhase::Failed] {
            index.apply_pod(PodFacts { phase, ..forged("evil") }, NOW);
        }
        assert_eq!(pods_of(&index, "job"), ["own"]);
        assert_eq!(counted(&index), [1, 0, 0], "it is counted once, however often it changes");
        assert!(!index.has_changed(), "the Job is not evaluated again");
        index.start_listening(NOW);
        assert_eq!(index.beat(&"evil".into(), None, Phase::Running, NOW), Err(BeatRejected::UnknownPod));
        let wanted = index.report(&"node-1".into(), &mk_report(&[("own", 1), ("evil", 1)]), NOW);
        assert_eq!(wanted.map(|wanted| wanted.contains(&"evil".into())).ok(), Some(true), "pods have not been listed");
        index.pods_listed(&["own".into(), "evil".into()].into(), NOW);
        let wanted = index.report(&"node-1".into(), &mk_report(&[("own", 1), ("evil", 1)]), NOW);
        assert_eq!(wanted, Ok(vec!["own".into()]));
        index.delete_pod(&"evil".into(), NOW);
        assert_eq!(pods_of(&index, "job"), ["own"]);
    }

    #[test]
    fn a_pod_listed_before_its_job_waits_and_is_checked_then() {
        let mut index = Index::default();
        index.apply_pod(forged("evil"), NOW);
        index.apply_pod(mk_pod("own", "job"), NOW);
        assert_eq!(counted(&index), [0; 3]);
        index.apply_job(mk_job("job"), NOW);
        assert_eq!(pods_of(&index, "job"), ["own"]);
        assert_eq!(counted(&index), [1, 0, 0]);
        assert!(!index.knows_pod(&"evil".into()));
        assert!(index.pods.values().all(|pod| pod.facts.claim.is_none()), "an admitted pod keeps no claim");
    }

    #[test]
    fn a_job_lacks_a_pod_if_only_a_foreign_one_names_it() {
        let mut index = Index::default();
        index.apply_pod(forged("evil"), NOW);
        index.apply_job(mk_job("job"), NOW);
        let evidence = index.evidence(&"job".into()).expect("the Job is known").0;
        assert_eq!(evidence.job.podless_since, Some(NOW));
    }

    #[test]
    fn a_member_stays_when_its_labels_change_or_its_job_releases_it() {
        let mut index = Index::default();
        index.apply_job(mk_job("job"), NOW);
        index.apply_pod(mk_pod("own", "job"), NOW);
        let relabelled = Some(Box::new(Claim::new("ort", "job", None)));
        index.apply_pod(PodFacts { claim: relabelled, phase: PodPhase::Failed, ..mk_pod("own", "job") }, NOW);
        index.apply_pod(PodFacts { claim: None, job: None, phase: PodPhase::Failed, ..mk_pod("own", "job") }, NOW);
        assert_eq!(pods_of(&index, "job"), ["own"]);
        assert_eq!(counted(&index), [0; 3]);
    }

    #[test]
    fn a_pod_that_names_another_job_later_stays_with_its_own() {
        let mut index = Index::default();
        index.apply_job(mk_job("job"), NOW);
        let theirs = mk_job("theirs");
        let identity = crate::evidence::JobIdentity { namespace: "theirs".to_owned(), ..theirs.identity.clone() };
        index.apply_job(JobFacts { identity, ..theirs }, NOW);
        index.apply_pod(mk_pod("own", "job"), NOW);
        index.apply_pod(PodFacts { phase: PodPhase::Failed, ..mk_pod("own", "theirs") }, NOW);
        assert_eq!(pods_of(&index, "theirs"), [""; 0]);
        assert_eq!(pods_of(&index, "job"), ["own"]);
    }

    #[test]
    fn nothing_joins_a_bare_pod() {
        let mut index = Index::default();
        index.apply_job(JobFacts { members: Members::Itself, ..mk_job("bare") }, NOW);
        index.apply_pod(PodFacts { claim: None, ..mk_pod("bare", "bare") }, NOW);
        index.apply_pod(mk_pod("evil", "bare"), NOW);
        assert_eq!(pods_of(&index, "bare"), ["bare"]);
        assert_eq!(counted(&index), [0, 0, 1]);
    }
}
