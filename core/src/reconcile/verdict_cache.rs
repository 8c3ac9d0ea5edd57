//! The last conclusion about each Job, and how often each row has decided.

use std::collections::{BTreeMap, HashMap};

use jobwarden_common::identity::{JobUid, PodUid};

use crate::{
    explain::{Summary, summary},
    moment::Moment,
    verdict::{Judgement, Row},
};

/// The last conclusion about each known Job.
#[derive(Debug, Default)]
pub(super) struct VerdictCache {
    // Boxed: a hash table that has just grown is half empty.
    jobs: HashMap<JobUid, Box<Entry>>,
    by_verdict: BTreeMap<&'static str, usize>,
    by_row: BTreeMap<Row, u64>,
}

#[derive(Debug)]
struct Entry {
    conclusion: Conclusion,
    job: Option<Row>,
    /// Sorted.
    pods: Box<[(PodUid, Row)]>,
}

/// The last conclusion about a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// The verdict in one word; see [`Summary`].
    pub verdict: &'static str,
    /// The reason of a loss.
    pub reason: Option<&'static str>,
    /// The row that matched.
    pub row: Option<Row>,
    /// Since when the Job has had this verdict.
    pub since: Moment,
}

impl VerdictCache {
    /// Records the judgement of a Job at `now`.
    pub(super) fn record(&mut self, job: &JobUid, judgement: &Judgement, now: Moment) {
        let Summary { verdict, reason, row, pod: _ } = summary(judgement);
        let mut pods: Box<[_]> = judgement.pods.iter().map(|pod| (pod.uid.clone(), pod.verdict.row())).collect();
        pods.sort_unstable();
        let mut conclusion = Conclusion { verdict, reason, row, since: now };
        let job_row = judgement.job.row();
        let before = self.jobs.get(job);
        if let Some(row) = job_row.filter(|row| before.and_then(|before| before.job) != Some(*row)) {
            *self.by_row.entry(row).or_default() += 1;
        }
        for pod in &pods {
            if before.is_none_or(|before| before.pods.binary_search(pod).is_err()) {
                *self.by_row.entry(pod.1).or_default() += 1;
            }
        }
        let was = before.map(|before| before.conclusion);
        if let Some(was) = was.filter(|was| (was.verdict, was.reason, was.row) == (verdict, reason, row)) {
            conclusion.since = was.since;
        }
        if was.is_none_or(|was| was.verdict != verdict) {
            *self.by_verdict.entry(verdict).or_default() += 1;
            if let Some(was) = was {
                self.uncount(was.verdict);
            }
        }
        let entry = Entry { conclusion, job: job_row, pods };
        if let Some(known) = self.jobs.get_mut(job) {
            **known = entry;
        } else {
            self.jobs.insert(job.clone(), Box::new(entry));
        }
    }

    /// Since when a Job has had its present verdict.
    pub(super) fn since(&self, job: &JobUid) -> Option<Moment> {
        self.jobs.get(job).map(|entry| entry.conclusion.since)
    }

    /// The last conclusion about a Job.
    pub(super) fn get(&self, job: &JobUid) -> Option<Conclusion> {
        self.jobs.get(job).map(|entry| entry.conclusion)
    }

    /// The last conclusion about each Job.
    pub(super) fn all(&self) -> impl Iterator<Item = (&JobUid, Conclusion)> {
        self.jobs.iter().map(|(uid, entry)| (uid, entry.conclusion))
    }

    /// How many Jobs have each verdict.
    pub(super) fn jobs_by_verdict(&self) -> &BTreeMap<&'static str, usize> {
        &self.by_verdict
    }

    /// How often each row has decided.
    pub(super) fn decisions_by_row(&self) -> &BTreeMap<Row, u64> {
        &self.by_row
    }

    /// Removes a Job that is no longer known.
    pub(super) fn forget(&mut self, job: &JobUid) {
        if let Some(entry) = self.jobs.remove(job) {
            self.uncount(entry.conclusion.verdict);
        }
    }

    /// Removes all Jobs. The number of decisions by each row stays because counters of a process only grow.
    pub(super) fn clear(&mut self) {
        self.jobs.clear();
        self.by_verdict.clear();
    }

    fn uncount(&mut self, verdict: &'static str) {
        if let Some(jobs) = self.by_verdict.get_mut(verdict) {
            *jobs -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        builders::evidence::{at, judged, mk_job, mk_pod, mk_snapshot, unreachable},
        evidence::JobStage,
    };

    #[test]
    fn each_job_counts_once_and_each_change_of_row_once() {
        let mut cache = VerdictCache::default();
        let uid = JobUid::from("job-uid");
        let alive = judged(&mk_snapshot(mk_job(JobStage::Open), vec![mk_pod("w")]));
        let lost = judged(&mk_snapshot(mk_job(JobStage::Open), vec![unreachable("w", 100)]));
        for (second, judgement) in (1..).zip([&alive, &alive, &lost, &lost]) {
            cache.record(&uid, judgement, at(second));
        }
        assert_eq!(*cache.jobs_by_verdict(), [("alive", 0), ("lost", 1)].into());
        cache.record(&uid, &alive, at(5));
        assert_eq!(cache.since(&uid), Some(at(5)));
        assert_eq!(*cache.jobs_by_verdict(), [("alive", 1), ("lost", 0)].into());
        assert_eq!(*cache.decisions_by_row(), [(Row::P7, 2), (Row::P8, 1)].into());
        cache.forget(&uid);
        assert_eq!(cache.jobs_by_verdict()["alive"], 0);
    }

    #[test]
    fn a_row_about_the_job_is_counted_when_it_begins_to_match() {
        let mut cache = VerdictCache::default();
        let uid = JobUid::from("job-uid");
        let open = judged(&mk_snapshot(mk_job(JobStage::Open), vec![]));
        let ending = judged(&mk_snapshot(mk_job(JobStage::Succeeding), vec![]));
        let row = ending.job.row().expect("a row about the Job");
        for (second, judgement) in (1..).zip([&ending, &ending, &open, &ending]) {
            cache.record(&uid, judgement, at(second));
        }
        assert_eq!(cache.decisions_by_row()[&row], 2);
    }
}
