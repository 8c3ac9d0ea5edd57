//! The pods of one Job, in the order in which they were first seen.
//!
//! A Job may have 10,000 pods, and each of them comes, changes and goes on its own: none of that may cost time in proportion to the
//! others. Each pod knows its place. The place of a pod that is gone stays empty until most places are.

use jobwarden_common::identity::PodUid;

/// The pods of one Job.
#[derive(Clone, Debug, Default)]
pub(super) struct JobPods {
    places: Vec<Option<PodUid>>,
    empty: usize,
    live: usize,
}

impl JobPods {
    /// Adds a pod. Returns its place.
    pub(super) fn add(&mut self, uid: PodUid, is_live: bool) -> usize {
        // Most Jobs have one, and a vector that grows by itself begins with room for four.
        if self.places.is_empty() {
            self.places.reserve_exact(1);
        }
        self.places.push(Some(uid));
        self.live += usize::from(is_live);
        self.places.len() - 1
    }

    /// Removes the pod at this place. `moved` is told the new places of pods that get another one.
    pub(super) fn remove(&mut self, place: usize, was_live: bool, mut moved: impl FnMut(&PodUid, usize)) {
        if self.places.get_mut(place).and_then(Option::take).is_none() {
            return;
        }
        self.empty += 1;
        self.live = self.live.saturating_sub(usize::from(was_live));
        if self.empty * 2 > self.places.len() {
            self.places.retain(Option::is_some);
            self.empty = 0;
            for (place, uid) in self.places.iter().flatten().enumerate() {
                moved(uid, place);
            }
        }
    }

    /// Records that a pod has started to be pending or running, or no longer is.
    pub(super) fn note_live(&mut self, was_live: bool, is_live: bool) {
        self.live = (self.live + usize::from(is_live)).saturating_sub(usize::from(was_live));
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &PodUid> {
        self.places.iter().flatten()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.places.len() == self.empty
    }

    /// Whether one is pending or running.
    pub(super) fn has_live(&self) -> bool {
        self.live > 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use crate::{
        builders::facts::{mk_job, mk_pod},
        evidence::PodPhase,
        facts::pod::PodFacts,
        index::Index,
        moment::Moment,
    };

    const NOW: Moment = Moment::at(Duration::from_secs(1));

    /// One thing that happens to one of a few pods.
    #[derive(Clone, Copy, Debug)]
    enum Change {
        /// It is created in one of two Jobs, adopted by it, or changed.
        Apply {
            job: u8,
            phase: PodPhase,
        },
        /// Its Job has released it.
        Orphan,
        Delete,
    }

    fn change() -> impl Strategy<Value = Change> {
        let phase = prop_oneof![Just(PodPhase::Pending), Just(PodPhase::Running), Just(PodPhase::Failed)];
        prop_oneof![
            4 => (0_u8..2, phase).prop_map(|(job, phase)| Change::Apply { job, phase }),
            1 => Just(Change::Orphan),
            3 => Just(Change::Delete),
        ]
    }

    proptest! {
        /// Against a plain list, through the index: the order is that in which a Job got its pods, and a Job that has a live pod does
        /// not lack one.
        #[test]
        fn the_pods_of_a_job_are_those_of_a_plain_list(changes in prop::collection::vec((0_u8..12, change()), 1..200)) {
            let mut index = Index::default();
            let mut expected: Vec<(String, u8, PodPhase)> = Vec::new();
            for job in 0..2 {
                index.apply_job(mk_job(&format!("job-{job}")), NOW);
            }
            for (pod, change) in changes {
                let uid = format!("pod-{pod}");
                let at = expected.iter().position(|(known, ..)| *known == uid);
                match change {
                    Change::Apply { job, phase } => {
                        index.apply_pod(PodFacts { phase, ..mk_pod(&uid, &format!("job-{job}")) }, NOW);
                        match at {
                            Some(at) if expected[at].1 == job => expected[at].2 = phase,
                            Some(at) => {
                                expected.remove(at);
                                expected.push((uid, job, phase));
                            }
                            None => expected.push((uid, job, phase)),
                        }
                    }
                    // It stays that of its Job: nobody else watches it.
                    Change::Orphan => {
                        if let Some(at) = at {
                            let phase = expected[at].2;
                            index.apply_pod(PodFacts { job: None, phase, ..mk_pod(&uid, "none") }, NOW);
                        }
                    }
                    Change::Delete => {
                        index.delete_pod(&uid.as_str().into(), NOW);
                        expected.retain(|(known, ..)| *known != uid);
                    }
                }
                for job in 0..2 {
                    let evidence = index.evidence(&format!("job-{job}").as_str().into()).expect("the Job is known").0;
                    let pods: Vec<_> = evidence.pods.iter().map(|pod| pod.uid.to_string()).collect();
                    let of_job = || expected.iter().filter(|(_, of, _)| *of == job);
                    prop_assert_eq!(pods, of_job().map(|(uid, ..)| uid.clone()).collect::<Vec<_>>());
                    let is_live = of_job().any(|(_, _, phase)| *phase != PodPhase::Failed);
                    prop_assert_eq!(evidence.job.podless_since.is_none(), is_live);
                }
            }
        }
    }
}
