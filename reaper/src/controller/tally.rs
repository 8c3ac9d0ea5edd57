//! How many Jobs have which verdict, and how often each row has decided: for Prometheus, kept up at every look.

use std::collections::HashMap;

use jobwarden_common::identity::{JobUid, PodUid};

use crate::{
    explain::{Summary, summary},
    metrics::{Metrics, RowLabels, VerdictLabels},
    moment::Moment,
    verdict::{Judgement, Row},
};

/// What was last concluded of each open or finished Job.
#[derive(Debug)]
pub(super) struct Tally {
    metrics: Metrics,
    jobs: HashMap<JobUid, Entry>,
}

#[derive(Debug)]
struct Entry {
    shown: Concluded,
    job: Option<Row>,
    /// By pod, in the order of their UIDs.
    pods: Box<[(PodUid, Row)]>,
}

/// What was last concluded of a Job, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concluded {
    /// See [`crate::explain::Summary`].
    pub verdict: &'static str,
    /// The reason of a loss.
    pub reason: Option<&'static str>,
    /// The row that decided.
    pub row: Option<Row>,
    /// Since when that is so.
    pub since: Moment,
}

impl Tally {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, jobs: HashMap::new() }
    }

    /// This was concluded of a Job at `now`.
    pub(super) fn see(&mut self, job: &JobUid, judgement: &Judgement, now: Moment) {
        let Summary { verdict, reason, row, pod: _ } = summary(judgement);
        let mut pods: Box<[_]> = judgement.pods.iter().map(|(uid, verdict)| (uid.clone(), verdict.row())).collect();
        pods.sort_unstable();
        let mut entry = Entry { shown: Concluded { verdict, reason, row, since: now }, job: judgement.job.row(), pods };
        let before = self.jobs.get(job);
        if let Some(row) = entry.job.filter(|row| before.and_then(|before| before.job) != Some(*row)) {
            self.count(row);
        }
        for pod in &entry.pods {
            if before.is_none_or(|before| before.pods.binary_search(pod).is_err()) {
                self.count(pod.1);
            }
        }
        let was = before.map(|before| before.shown);
        if let Some(was) = was.filter(|was| (was.verdict, was.reason, was.row) == (verdict, reason, row)) {
            entry.shown.since = was.since;
        }
        if was.is_none_or(|was| was.verdict != verdict) {
            self.metrics.jobs.get_or_create(&VerdictLabels { verdict }).inc();
            if let Some(Concluded { verdict, .. }) = was {
                self.metrics.jobs.get_or_create(&VerdictLabels { verdict }).dec();
            }
        }
        self.jobs.insert(job.clone(), entry);
    }

    /// Since when the verdict on a Job is what it is.
    pub(super) fn since(&self, job: &JobUid) -> Option<Moment> {
        self.jobs.get(job).map(|entry| entry.shown.since)
    }

    /// What was last concluded of each Job.
    pub(super) fn all(&self) -> Vec<(JobUid, Concluded)> {
        self.jobs.iter().map(|(uid, entry)| (uid.clone(), entry.shown)).collect()
    }

    /// The Job is no longer known.
    pub(super) fn forget(&mut self, job: &JobUid) {
        if let Some(entry) = self.jobs.remove(job) {
            self.metrics.jobs.get_or_create(&VerdictLabels { verdict: entry.shown.verdict }).dec();
        }
    }

    /// Another leads.
    pub(super) fn clear(&mut self) {
        self.jobs.clear();
        self.metrics.jobs.clear();
    }

    fn count(&self, row: Row) {
        self.metrics.verdicts.get_or_create(&RowLabels { row: row.as_str() }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        enforce::fixtures::{at, judged, mk_case, mk_job, mk_pod, unreachable},
        evidence::JobStage,
    };

    fn jobs(metrics: &Metrics, verdict: &'static str) -> i64 {
        metrics.jobs.get_or_create(&VerdictLabels { verdict }).get()
    }

    fn verdicts(metrics: &Metrics, row: &'static str) -> u64 {
        metrics.verdicts.get_or_create(&RowLabels { row }).get()
    }

    #[test]
    fn each_job_counts_once_and_each_change_of_row_once() {
        let metrics = Metrics::default();
        let mut tally = Tally::new(metrics.clone());
        let uid = JobUid::from("job-uid");
        let alive = judged(&mk_case(mk_job(JobStage::Open), vec![mk_pod("w")]));
        let lost = judged(&mk_case(mk_job(JobStage::Open), vec![unreachable("w", 100)]));
        for (second, judgement) in (1..).zip([&alive, &alive, &lost, &lost, &alive]) {
            tally.see(&uid, judgement, at(second));
        }
        assert_eq!(tally.since(&uid), Some(at(5)));
        assert_eq!((jobs(&metrics, "alive"), jobs(&metrics, "lost")), (1, 0));
        assert_eq!((verdicts(&metrics, "P7"), verdicts(&metrics, "P8")), (2, 1));
        tally.forget(&uid);
        assert_eq!(jobs(&metrics, "alive"), 0);
    }
}
