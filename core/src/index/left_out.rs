//! Jobs beyond the limit of their namespace are left out of the index, and taken up once there is room.

use std::collections::HashSet;

use jobwarden_common::identity::{JobUid, PodUid};

use super::{
    Index,
    followed::{FOLLOWED_OUTSIDE, JobLimits},
};
use crate::{facts::job::JobFacts, moment::Moment};

impl Index {
    /// Replaces the limits. Jobs that are followed already stay.
    pub fn set_job_limits(&mut self, limits: JobLimits) {
        self.followed.limits = limits;
    }

    /// How many Jobs of this namespace may be followed.
    pub fn job_limit(&self, namespace: &str) -> usize {
        let limit = self.followed.limits.of(namespace);
        if self.is_outside(namespace) { limit.min(FOLLOWED_OUTSIDE) } else { limit }
    }

    /// The namespaces in which Jobs or pods were left out since they were last listed.
    pub fn beyond_limit(&self) -> impl Iterator<Item = &str> {
        self.followed.beyond.iter().map(String::as_str)
    }

    /// This namespace is about to be listed: what is left out from now on counts.
    pub fn list_begins(&mut self, namespace: &str) {
        self.followed.beyond.remove(namespace);
    }

    /// A page of a list is requested: what is unknown and goes away from now on is not taken up from it.
    pub fn page_requested(&mut self) {
        self.followed.gone = Some(HashSet::new());
    }

    /// The page was taken up.
    pub fn page_done(&mut self) {
        self.followed.gone = None;
    }

    /// A Job or pod that is not known went away.
    pub fn unknown_gone(&mut self, uid: &str) {
        if let Some(gone) = &mut self.followed.gone {
            gone.insert(uid.to_owned());
        }
    }

    /// Takes up a Job of a page, if there is room for it. Returns whether it is followed, or gone.
    pub fn take_up(&mut self, facts: JobFacts, now: Moment) -> bool {
        let uid = &facts.identity.uid;
        self.knows(uid) || self.went_away(uid.as_str()) || self.apply_job(facts, now)
    }

    /// Whether it went away since the page was requested that shows it.
    pub fn went_away(&self, uid: &str) -> bool {
        self.followed.gone.as_ref().is_some_and(|gone| gone.contains(uid))
    }

    /// Drops the pods of this namespace that wait for a Job which is not followed.
    pub fn drop_waiting(&mut self, namespace: &str, now: Moment) {
        let waits = |uid: &PodUid| {
            let claim = self.pods.get(uid).and_then(|pod| pod.facts.claim.as_ref());
            claim.is_some_and(|claim| claim.namespace() == namespace)
        };
        let waiting: Vec<_> = self.pods.keys().filter(|uid| waits(uid)).cloned().collect();
        for uid in waiting {
            self.drop_foreign(&uid, now);
        }
    }

    /// Counts another Job, if there is room for it.
    pub(super) fn follow(&mut self, namespace: &str) -> bool {
        let has_room = self.has_room(namespace);
        if has_room {
            self.followed.add(namespace);
        } else {
            self.left_out(namespace);
        }
        has_room
    }

    /// Whether another Job of this namespace can be followed.
    pub(super) fn has_room(&self, namespace: &str) -> bool {
        self.followed.counts.get(namespace).copied().unwrap_or_default() < self.job_limit(namespace)
    }

    /// Whether a pod that waits for a Job is left out, because the Job would be.
    pub(super) fn leaves_out(&self, pod: &PodUid, namespace: &str) -> bool {
        !self.has_room(namespace) && !self.knows_pod(pod)
    }

    /// Something in this namespace was left out, or could not be listed.
    pub fn left_out(&mut self, namespace: &str) {
        if !self.followed.beyond.contains(namespace) {
            self.followed.beyond.insert(namespace.to_owned());
        }
    }

    /// A Job is forgotten.
    pub(super) fn unfollow(&mut self, uid: &JobUid) {
        if let Some(facts) = self.jobs.get(uid).and_then(|job| job.facts.as_ref()) {
            self.followed.remove(&facts.identity.namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        builders::facts::{mk_claim, mk_job, mk_pod},
        evidence::JobIdentity,
        facts::pod::PodFacts,
    };

    const NOW: Moment = Moment::at(Duration::from_secs(1));

    fn job_in(namespace: &str, uid: &str) -> JobFacts {
        let facts = mk_job(uid);
        let identity = JobIdentity { namespace: namespace.to_owned(), ..facts.identity };
        JobFacts { identity, ..facts }
    }

    /// An index that follows two Jobs of each namespace, of which `ort` is enrolled.
    fn mk_index() -> Index {
        let mut index = Index::default();
        index.set_job_limits(JobLimits::each(2));
        index.set_enrolled("ort", true, NOW);
        index.namespaces_listed(|_| true, NOW);
        index
    }

    fn beyond(index: &Index) -> Vec<&str> {
        index.beyond_limit().collect()
    }

    #[test]
    fn beyond_the_limit_of_its_namespace_a_job_is_left_out_until_there_is_room() {
        let mut index = mk_index();
        let followed: Vec<_> = ["a", "b", "c"].map(|uid| index.apply_job(mk_job(uid), NOW)).into();
        assert_eq!(followed, [true, true, false]);
        assert!(index.apply_job(JobFacts { suspended: true, ..mk_job("a") }, NOW), "one that is followed stays so");
        assert_eq!((index.jobs(), beyond(&index)), (2, vec!["ort"]));
        index.delete_job(&"a".into(), NOW);
        assert!(!index.apply_job(mk_job("c"), NOW), "what is gone still has to be told of");
        index.forget_job(&"a".into());
        index.forget_job(&"a".into());
        assert!(index.apply_job(mk_job("c"), NOW));
        index.list_begins("ort");
        assert!(beyond(&index).is_empty());
    }

    #[test]
    fn the_jobs_of_one_namespace_take_no_room_from_another() {
        let mut index = mk_index();
        index.set_enrolled("other", true, NOW);
        index.list_begins("other");
        for uid in ["a", "b", "c"] {
            index.apply_job(mk_job(uid), NOW);
        }
        assert!(index.apply_job(job_in("other", "d"), NOW));
        assert_eq!(beyond(&index), ["ort"]);
    }

    #[test]
    fn a_pod_is_left_out_with_its_job_and_found_again_with_it() {
        let mut index = mk_index();
        for uid in ["a", "b", "c"] {
            index.apply_job(mk_job(uid), NOW);
        }
        let of_c = || PodFacts { claim: Some(Box::new(mk_claim("ort", "c"))), ..mk_pod("pod", "c") };
        index.list_begins("ort");
        index.apply_pod(of_c(), NOW);
        assert_eq!((index.pods(), beyond(&index)), (0, vec!["ort"]), "it does not wait for a Job that is not followed");
        index.forget_job(&"a".into());
        assert!(index.take_up(mk_job("c"), NOW));
        index.apply_pod(of_c(), NOW);
        assert_eq!(index.evidence(&"c".into()).expect("it is followed").0.pods.len(), 1);
    }

    #[test]
    fn pods_that_were_listed_before_their_jobs_are_dropped_with_them() {
        let mut index = mk_index();
        for uid in ["a", "c"] {
            let claim = Some(Box::new(mk_claim("ort", uid)));
            index.apply_pod(PodFacts { claim, ..mk_pod(&format!("pod-{uid}"), uid) }, NOW);
        }
        for uid in ["a", "b", "c"] {
            index.apply_job(mk_job(uid), NOW);
        }
        index.drop_waiting("ort", NOW);
        assert!(index.knows_pod(&"pod-a".into()) && !index.knows_pod(&"pod-c".into()));
        assert_eq!(index.jobs.len(), 2, "nothing is kept of a Job that is not followed");
    }

    #[test]
    fn what_went_away_since_a_page_was_requested_is_not_taken_up_from_it() {
        let mut index = mk_index();
        index.unknown_gone("early");
        index.page_requested();
        index.unknown_gone("gone");
        assert!(index.take_up(mk_job("gone"), NOW) && !index.knows(&"gone".into()));
        assert!(index.take_up(mk_job("early"), NOW) && index.knows(&"early".into()), "it is in the list again");
        index.page_done();
        assert!(index.take_up(mk_job("gone"), NOW) && index.knows(&"gone".into()));
    }

    #[test]
    fn labels_set_by_hand_outside_of_enrolment_take_little_room() {
        let mut index = mk_index();
        index.set_job_limits(JobLimits::default());
        for number in 0..1000 {
            index.apply_job(job_in("stranger", &format!("job-{number}")), NOW);
        }
        assert_eq!((index.jobs(), beyond(&index)), (FOLLOWED_OUTSIDE, vec!["stranger"]));
        index.list_begins("stranger");
        index.set_enrolled("stranger", true, NOW);
        assert_eq!(beyond(&index), ["stranger"], "a namespace that is enrolled is listed: some may have been left out");
    }

    proptest! {
        /// A tenant that sets and removes the label, or creates and deletes Jobs, leaves nothing behind.
        #[test]
        fn the_count_is_that_of_the_index(changes in prop::collection::vec((0_u8..6, 0_u8..3, 0_u8..2), 1..200)) {
            let mut index = mk_index();
            for (job, change, namespace) in changes {
                let uid = JobUid::from(format!("job-{namespace}-{job}"));
                match change {
                    0 => drop(index.apply_job(job_in(["ort", "b"][usize::from(namespace)], uid.as_str()), NOW)),
                    1 => index.delete_job(&uid, NOW),
                    _ => index.forget_job(&uid),
                }
                prop_assert_eq!(index.followed.counts.values().sum::<usize>(), index.jobs());
                prop_assert!(index.followed.counts.values().all(|count| *count <= 2));
            }
        }
    }
}
