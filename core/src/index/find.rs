//! Finding Jobs by name, for people. That is rare, so there is no index of names.

use jobwarden_common::identity::JobUid;

use super::Index;
use crate::{evidence::JobIdentity, moment::Moment};

impl Index {
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
