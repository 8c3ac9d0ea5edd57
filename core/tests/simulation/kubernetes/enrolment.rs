//! Enrolment: namespaces that leave and return, Jobs that opt out, labels that are set by hand, and the backfill of the leader that puts
//! them right. Pods with forged owners, too.

use std::{rc::Rc, time::Duration};

use jobwarden_core::facts::pod::PodFacts;

use super::objects;
use crate::{
    fault::Forgery,
    state::{
        forged::Forged,
        watch::{Facts, Item, Kind},
    },
    world::{Event, World},
};

/// The grace period of the backfill.
const GRACE: Duration = Duration::from_secs(3);
/// After how long it tries again.
const AGAIN: Duration = Duration::from_secs(5);

impl World<'_> {
    /// The Job stands in an enrolled namespace and has not opted out.
    pub(crate) fn is_enrolled(&self, job: usize) -> bool {
        self.left[self.history.jobs[job].namespace] == 0 && self.jobs[job].opted_out == 0
    }

    /// The reapers can observe the Job: it also has the label by which they watch.
    pub(crate) fn is_observed(&self, job: usize) -> bool {
        self.is_enrolled(job) && self.jobs[job].labelled
    }

    /// A namespace leaves enrolment, or may return.
    pub(crate) fn namespace_changed(&mut self, namespace: usize, on: bool) {
        let jobs: Vec<_> = (0..self.jobs.len()).filter(|&job| self.history.jobs[job].namespace == namespace).collect();
        let before: Vec<_> = jobs.iter().map(|&job| self.is_observed(job)).collect();
        let left = &mut self.left[namespace];
        *left = if on { *left + 1 } else { left.saturating_sub(1) };
        self.publish(Kind::Namespace(namespace), false);
        for (job, before) in jobs.into_iter().zip(before) {
            self.enrolment_changed(job, before);
        }
    }

    /// A Job opts out, or in again. `loses_label` if the same patch removes our label.
    pub(crate) fn opt_out(&mut self, job: usize, on: bool, loses_label: bool) {
        let before = self.is_observed(job);
        let last = self.read(Kind::Job(job));
        let it = &mut self.jobs[job];
        it.opted_out = if on { it.opted_out + 1 } else { it.opted_out.saturating_sub(1) };
        let had_label = it.labelled;
        it.labelled &= !loses_label;
        self.label_changed(job, had_label, last);
        self.enrolment_changed(job, before);
    }

    /// Somebody removes our label.
    pub(crate) fn remove_label(&mut self, job: usize) {
        let before = self.is_observed(job);
        let last = self.read(Kind::Job(job));
        let had_label = std::mem::replace(&mut self.jobs[job].labelled, false);
        self.label_changed(job, had_label, last);
        self.enrolment_changed(job, before);
    }

    /// An object that no longer matches the selector of a watch is deleted for it, in its last state that did.
    fn label_changed(&mut self, job: usize, had_label: bool, last: Option<Facts>) {
        if !self.jobs[job].exists {
            return;
        }
        match (had_label, self.jobs[job].labelled, last) {
            (true, false, Some(facts)) => self.send(&Rc::new(Item { kind: Kind::Job(job), facts, deleted: true })),
            _ => self.publish(Kind::Job(job), false),
        }
    }

    fn enrolment_changed(&mut self, job: usize, was_observed: bool) {
        let observed = self.is_observed(job);
        if observed != was_observed {
            self.log(|| format!("job-{job} {} observed", if observed { "can be" } else { "can no longer be" }));
            let moment = self.laws.signal_clock.at(self.now);
            self.jobs[job].enrolment_changed_at = moment;
            self.laws.records[job].restart_waiting();
        }
        if !self.jobs[job].labelled {
            self.after(GRACE, Event::Backfill(job));
        }
    }

    /// The backfill of the leader: a Job without our label gets it, or is released.
    pub(crate) fn backfill(&mut self, job: usize) {
        let it = &self.jobs[job];
        if it.labelled || !it.exists {
            return;
        }
        if self.leader().is_none() || !self.cluster.reapers_reach_api() {
            return self.after(AGAIN, Event::Backfill(job));
        }
        if !self.is_enrolled(job) {
            if std::mem::replace(&mut self.jobs[job].finalizer, false) {
                self.log(|| format!("the backfill releases job-{job}"));
                self.after(Duration::from_millis(50), Event::CollectJob(job));
            }
            return;
        }
        let is_over = it.deleting || it.has_finished();
        if is_over && !it.finalizer {
            return;
        }
        let before = self.is_observed(job);
        let it = &mut self.jobs[job];
        (it.labelled, it.finalizer) = (true, true);
        self.log(|| format!("the backfill labels job-{job}"));
        self.publish(Kind::Job(job), false);
        self.enrolment_changed(job, before);
    }

    /// Somebody creates a pod that names the Job as its controller, and is not one of its pods.
    pub(crate) fn forge_pod(&mut self, job: usize, forgery: Forgery) {
        let number = self.forged.len();
        let node = self.dice.below(self.nodes.len());
        self.forged.push(Forged { job, forgery, node, phase: "Running" });
        self.log(|| format!("the pod forged-{number} names job-{job}"));
        self.publish(Kind::Forged(number), false);
        for phase in ["Failed", "Succeeded"] {
            let after = self.dice.seconds(1, 200);
            self.after(after, Event::ForgedPodEnds { forged: number, phase });
        }
    }

    /// A forged pod says that it has ended.
    pub(crate) fn forged_pod_ends(&mut self, forged: usize, phase: &'static str) {
        self.forged[forged].phase = phase;
        self.publish(Kind::Forged(forged), false);
    }

    /// What is read of a forged pod.
    pub(crate) fn read_forged(&self, forged: usize) -> Option<PodFacts> {
        let it = &self.forged[forged];
        PodFacts::read(&objects::forged(forged, it, &self.history.jobs[it.job]))
    }
}
