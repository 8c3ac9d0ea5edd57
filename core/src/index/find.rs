//! Finding Jobs by name, for people. That is rare, so there is no index of names: a page is selected in one pass, which keeps no more
//! than the page.

use std::{collections::BTreeSet, fmt};

use jobwarden_common::identity::JobUid;

use super::Index;
use crate::{evidence::JobIdentity, moment::Moment};

/// A place in the order in which Jobs are listed: by namespace, name and UID.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobCursor {
    /// The namespace.
    pub namespace: String,
    /// The name; empty before all of the namespace.
    pub name: String,
    /// The UID; empty before all of that name.
    pub uid: String,
}

/// Sorts after every name of an object, which consist of `a-z`, `0-9`, `-` and `.`.
const AFTER_ALL_NAMES: &str = "~";

impl JobCursor {
    /// The place of a Job.
    pub fn of(identity: &JobIdentity) -> Self {
        let JobIdentity { namespace, name, uid, .. } = identity;
        Self { namespace: namespace.clone(), name: name.clone(), uid: uid.as_str().to_owned() }
    }

    /// The place after all Jobs of a namespace.
    pub fn after_namespace(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: AFTER_ALL_NAMES.to_owned(), uid: String::new() }
    }

    /// Parses `namespace/name/uid`, of which the later parts may be missing.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Self { namespace: next(), name: next(), uid: next() }
    }
}

impl fmt::Display for JobCursor {
    /// In the form that [`JobCursor::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, uid } = self;
        write!(f, "{namespace}/{name}/{uid}")
    }
}

impl Index {
    /// The first `limit` Jobs after `after` that satisfy `wanted`, in the order of the cursor.
    pub fn page(&self, after: &JobCursor, limit: usize, wanted: impl Fn(&JobIdentity) -> bool) -> Vec<JobIdentity> {
        let after = (&*after.namespace, &*after.name, &*after.uid);
        let mut page = BTreeSet::new();
        for identity in self.jobs.values().filter_map(|job| Some(&job.facts.as_ref()?.identity)) {
            let key = (&*identity.namespace, &*identity.name, identity.uid.as_str());
            let fits = page.len() < limit || page.last().is_some_and(|last| key < *last);
            if key > after && fits && wanted(identity) {
                page.insert(key);
                if page.len() > limit {
                    page.pop_last();
                }
            }
        }
        page.into_iter().filter_map(|(_, _, uid)| self.identity(&uid.into())).collect()
    }

    /// The first `limit` namespaces with Jobs after `after`, in their order.
    pub fn namespaces(&self, after: &JobCursor, limit: usize) -> Vec<String> {
        let after = (&*after.namespace, &*after.name, &*after.uid);
        let mut namespaces = BTreeSet::new();
        for identity in self.jobs.values().filter_map(|job| Some(&job.facts.as_ref()?.identity)) {
            let key = (&*identity.namespace, &*identity.name, identity.uid.as_str());
            let fits = namespaces.len() < limit || namespaces.last().is_some_and(|last| key.0 < *last);
            if key > after && fits {
                namespaces.insert(key.0);
                if namespaces.len() > limit {
                    namespaces.pop_last();
                }
            }
        }
        namespaces.into_iter().map(str::to_owned).collect()
    }

    /// The Job of this name. Of several, a Job whose object exists comes first, and a bare pod last.
    pub fn find(&self, namespace: &str, name: &str) -> Option<JobUid> {
        let named = self.jobs.values().filter_map(|job| Some((&job.facts.as_ref()?.identity, job.gone)));
        let named = named.filter(|(identity, _)| identity.namespace == namespace && identity.name == name);
        named.min_by_key(|(identity, gone)| (*gone, identity.is_bare())).map(|(identity, _)| identity.uid.clone())
    }

    /// Who a Job is, if it is known.
    pub fn identity(&self, job: &JobUid) -> Option<JobIdentity> {
        self.jobs.get(job)?.facts.as_ref().map(|facts| facts.identity.clone())
    }

    /// Since when this reaper receives beats and reports as the leader; [`Moment::NEVER`] while it does not.
    pub fn listening_since(&self) -> Moment {
        self.receiving_since.unwrap_or(Moment::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{builders::facts::mk_job, facts::job::JobFacts};

    fn mk_index(jobs: &[(String, String)]) -> Index {
        let mut index = Index::default();
        for (number, (namespace, name)) in jobs.iter().enumerate() {
            let facts = mk_job(&format!("uid-{number}"));
            let identity = JobIdentity { namespace: namespace.clone(), name: name.clone(), ..facts.identity };
            index.apply_job(JobFacts { identity, ..facts }, Moment::default());
        }
        index
    }

    proptest! {
        #[test]
        fn pages_of_any_size_show_each_job_once_in_order(
            jobs in prop::collection::vec(("[a-c]{1,2}", "[a-c-]{1,3}"), 0..30),
            limit in 1_usize..7,
        ) {
            let index = mk_index(&jobs);
            let (mut after, mut seen) = (JobCursor::default(), Vec::new());
            loop {
                let page = index.page(&after, limit, |_| true);
                prop_assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = JobCursor::parse(&JobCursor::of(last).to_string());
                seen.extend(page.iter().map(JobCursor::of));
            }
            let mut expected = seen.clone();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(&seen, &expected);
            prop_assert_eq!(seen.len(), jobs.len());
        }

        #[test]
        fn namespaces_are_found_in_order_and_skipped_by_the_cursor_after_them(
            jobs in prop::collection::vec(("[a-c]{1,2}", "[a-c]{1,3}"), 0..30),
            limit in 1_usize..4,
        ) {
            let index = mk_index(&jobs);
            let (mut after, mut seen) = (JobCursor::default(), Vec::new());
            loop {
                let found = index.namespaces(&after, limit);
                let Some(last) = found.last() else { break };
                after = JobCursor::after_namespace(last);
                seen.extend(found);
            }
            let expected: BTreeSet<_> = jobs.into_iter().map(|(namespace, _)| namespace).collect();
            prop_assert_eq!(seen, expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_id_that_is_too_long_is_not_kept() {
        let facts = mk_job("uid");
        let long = "x".repeat(200_000);
        let identity = JobIdentity {
            run_id: Some(long.as_str().into()),
            job_id: Some("7".into()),
            trace_id: Some(long),
            ..facts.identity.clone()
        };
        let mut index = Index::default();
        for _ in 0..2 {
            index.apply_job(JobFacts { identity: identity.clone(), ..facts.clone() }, Moment::default());
        }
        let kept = index.identity(&identity.uid).expect("it is indexed");
        assert_eq!((kept.run_id, kept.job_id, kept.trace_id), (None, Some("7".into()), None));
    }

    #[test]
    fn a_page_has_only_what_is_wanted() {
        let index = mk_index(&[("a".into(), "x".into()), ("b".into(), "x".into()), ("b".into(), "y".into())]);
        let page = index.page(&JobCursor::parse("b"), 9, |job| job.name == "x");
        assert_eq!(page.iter().map(|job| job.namespace.as_str()).collect::<Vec<_>>(), ["b"]);
    }
}
