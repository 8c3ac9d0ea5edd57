//! Which namespaces are enrolled, and since when a Job is out of enrolment. The label by which the watches select only says where to look:
//! anybody may write it.

use jobwarden_common::identity::JobUid;

use super::{Index, enrolled::EnrolledNamespaces, records::JobRecord};
use crate::{facts::job::JobFacts, moment::Moment, selection::Selection};

impl Index {
    /// A namespace was enrolled, or is no longer.
    pub fn set_enrolled(&mut self, namespace: &str, enrolled: bool, now: Moment) {
        let names = &mut self.enrolled.names;
        let changed = if enrolled { names.insert(namespace.to_owned()) } else { names.remove(namespace) };
        if changed {
            // The first Jobs of a new namespace may arrive before it does, and be left out.
            if enrolled && self.enrolled.listed {
                self.left_out(namespace);
            }
            self.enrolment_changed(Some(namespace), now);
        }
    }

    /// Whether the namespace is known not to be enrolled.
    pub(super) fn is_outside(&self, namespace: &str) -> bool {
        self.enrolled.listed && !self.is_enrolled(namespace)
    }

    /// Whether the namespace is known to be enrolled, or has Jobs that are followed by their labels.
    pub fn is_enrolled(&self, namespace: &str) -> bool {
        self.enrolled.names.contains(namespace) || self.enrolled.selection.covers(namespace)
    }

    /// Whether the namespace of a Job is known to be enrolled, or the Job is selected by its labels.
    pub fn enrols(&self, facts: &JobFacts) -> bool {
        self.enrolled.contains(facts)
    }

    /// Whether only selected Jobs of the namespace are followed, and which those are.
    pub fn selection_in(&self, namespace: &str) -> Option<&Selection> {
        let EnrolledNamespaces { names, selection, .. } = &self.enrolled;
        (!names.contains(namespace) && selection.covers(namespace)).then_some(selection)
    }

    /// Sets which Jobs are followed by their labels.
    pub fn set_selection(&mut self, selection: Selection, now: Moment) {
        self.enrolled.selection = selection;
        self.enrolment_changed(None, now);
    }

    /// A list of namespaces is complete: those that `exists` denies are gone.
    pub fn namespaces_listed(&mut self, exists: impl Fn(&str) -> bool, now: Moment) {
        let EnrolledNamespaces { names, listed, .. } = &mut self.enrolled;
        let before = (names.len(), *listed);
        names.retain(|name| exists(name));
        *listed = true;
        if before != (names.len(), true) {
            self.enrolment_changed(None, now);
        }
    }

    /// Whether the Job stands in an enrolled namespace and has not opted out.
    pub(super) fn is_observed(&self, job: &JobUid) -> bool {
        self.jobs.get(job).is_some_and(|job| job.facts.is_some() && job.unenrolled_since.is_none())
    }

    /// Records since when the Job is out of enrolment. Returns whether it has left or entered.
    pub(super) fn update_enrolment(&mut self, uid: &JobUid, now: Moment) -> bool {
        let Some(job) = self.jobs.get_mut(uid) else { return false };
        let before = job.unenrolled_since;
        job.unenrolled_since = (!self.enrolled.observes(job)).then(|| before.unwrap_or(now));
        before.is_some() != job.unenrolled_since.is_some()
    }

    /// For the Jobs of one namespace, or for all.
    fn enrolment_changed(&mut self, namespace: Option<&str>, now: Moment) {
        let concerns = |job: &JobRecord| {
            job.facts.as_ref().is_some_and(|facts| namespace.is_none_or(|name| facts.identity.namespace == name))
        };
        let concerned: Vec<_> = self.jobs.iter().filter(|(_, job)| concerns(job)).map(|(uid, _)| uid.clone()).collect();
        for uid in concerned {
            if self.update_enrolment(&uid, now) {
                self.mark(&uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::{
        builders::facts::{mk_job, mk_pod},
        facts::job::JobFacts,
        policy::Labels,
    };

    const fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn since(index: &Index) -> Option<Moment> {
        index.evidence(&"job".into()).expect("the Job is known").0.job.unenrolled_since
    }

    fn pods(index: &Index) -> usize {
        index.evidence(&"job".into()).expect("the Job is known").0.pods.len()
    }

    fn carries_workers(index: &Index) -> bool {
        index.worker_nodes().any(|node| node.carries_workers)
    }

    /// The Job `job` of the namespace `ort` with a running pod.
    fn mk_index() -> Index {
        let mut index = Index::default();
        index.apply_job(mk_job("job"), at(0));
        index.apply_pod(mk_pod("pod", "job"), at(0));
        index
    }

    #[test]
    fn no_job_is_out_of_enrolment_before_the_namespaces_are_listed() {
        let mut index = mk_index();
        assert_eq!(since(&index), None);
        index.take_changed();
        index.namespaces_listed(|_| true, at(1));
        assert_eq!(since(&index), Some(at(1)), "the namespace is not enrolled");
        assert_eq!(index.take_changed(), ["job".into()]);
    }

    #[test]
    fn a_job_of_a_namespace_that_is_not_enrolled_has_no_pods_and_makes_no_node_a_carrier() {
        let mut index = mk_index();
        assert_eq!((pods(&index), carries_workers(&index)), (1, true));
        index.namespaces_listed(|_| true, at(1));
        assert_eq!((pods(&index), carries_workers(&index)), (0, false));
    }

    #[test]
    fn a_namespace_leaves_and_returns() {
        let mut index = Index::default();
        index.set_enrolled("ort", true, at(0));
        index.namespaces_listed(|_| true, at(0));
        index.apply_job(mk_job("job"), at(1));
        index.apply_pod(mk_pod("pod", "job"), at(1));
        index.take_changed();
        index.set_enrolled("other", true, at(2));
        assert!(!index.has_changed(), "Jobs of other namespaces are not evaluated");
        index.set_enrolled("ort", false, at(3));
        index.apply_job(JobFacts { suspended: true, ..mk_job("job") }, at(4));
        assert_eq!(since(&index), Some(at(3)), "a change of the Job does not start the time again");
        assert_eq!(index.take_changed(), ["job".into()]);
        index.set_enrolled("ort", true, at(5));
        assert_eq!((since(&index), pods(&index)), (None, 1));
        index.namespaces_listed(|name| name != "ort", at(6));
        assert_eq!(since(&index), Some(at(6)), "a namespace that is gone is not enrolled");
    }

    #[test]
    fn a_job_that_opts_out_leaves() {
        let mut index = mk_index();
        index.apply_job(JobFacts { opted_out: true, ..mk_job("job") }, at(2));
        assert_eq!(since(&index), Some(at(2)));
        index.apply_job(mk_job("job"), at(3));
        assert_eq!(since(&index), None);
    }

    #[test]
    fn a_selected_job_is_observed_and_another_of_its_namespace_is_not() {
        let mut index = mk_index();
        let selector = crate::label_selector::parse("ort-worker").expect("a selector");
        index.set_selection(Selection::new(["ort".to_owned()], selector), at(0));
        index.namespaces_listed(|_| true, at(1));
        assert_eq!(
            since(&index),
            Some(at(1)),
            "it lacks the label of the selector, so its label enrolled has no effect"
        );
        let labels = Labels::keep(&BTreeMap::from([("ort-worker".to_owned(), "scanner".to_owned())]));
        let selected = || JobFacts { labels: labels.clone(), ..mk_job("job") };
        index.apply_job(selected(), at(2));
        assert_eq!(since(&index), None);
        index.apply_job(JobFacts { opted_out: true, ..selected() }, at(3));
        assert_eq!(since(&index), Some(at(3)));
        assert!(index.selection_in("ort").is_some() && index.selection_in("other").is_none());
        index.set_enrolled("ort", true, at(4));
        assert!(index.selection_in("ort").is_none(), "its namespace is enrolled as a whole");
    }

    #[test]
    fn a_pod_of_an_unknown_job_makes_no_node_a_carrier() {
        let mut index = Index::default();
        index.apply_pod(mk_pod("pod", "job"), at(0));
        assert!(!carries_workers(&index));
    }
}
