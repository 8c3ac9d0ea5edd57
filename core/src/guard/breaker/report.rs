//! The state of the breaker, for people.

use std::time::Duration;

use jobwarden_common::identity::{JobUid, NodeName};

use super::{Breaker, group::Group, schedule::next_release};
use crate::{
    guard::{Counted, Scope},
    moment::Moment,
};

/// The state of the breaker at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerReport {
    /// How many nodes carry workers.
    pub nodes: usize,
    /// How many of them are silent.
    pub silent: usize,
    /// After how long what is held is released.
    pub hold_for: Duration,
    /// What has tripped.
    pub domains: Vec<DomainReport>,
}

/// A failure domain that has tripped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainReport {
    /// What is counted.
    pub counted: Counted,
    /// Where.
    pub scope: Scope,
    /// The name of the zone or of the namespace.
    pub name: Option<String>,
    /// Since when it holds.
    pub since: Moment,
    /// Members return, and it is released when no more do.
    pub returning: bool,
    /// How many nodes or Jobs are affected.
    pub affected: usize,
    /// Of how many.
    pub of: usize,
    /// What is held, with since when.
    pub held: Vec<(Unit, Moment)>,
    /// When the next one is released; `None` while no node that carries workers reports.
    pub next_release: Option<Moment>,
}

/// What a failure domain consists of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// A node.
    Node(NodeName),
    /// A Job.
    Job(JobUid),
}

impl Breaker {
    /// The state of the breaker.
    pub fn report(&self) -> BreakerReport {
        let tallies = [(Counted::SilentNodes, &self.silence), (Counted::ProcessGoneNodes, &self.process_gone)];
        let of_nodes = tallies.into_iter().flat_map(|(counted, tally)| {
            tally.tripped().filter_map(move |(zone, group)| {
                let scope = if zone.is_some() { Scope::Zone } else { Scope::Cluster };
                let name = zone.map(ToString::to_string);
                self.domain((counted, scope, name), group, tally.last_release(), |node| Unit::Node(node.clone()))
            })
        });
        let of_jobs = self.namespaces.iter().filter_map(|(name, namespace)| {
            let title = (Counted::HeartbeatLostJobs, Scope::Namespace, Some(name.to_string()));
            self.domain(title, &namespace.jobs, namespace.last_release, |job| Unit::Job(job.clone()))
        });
        let mut domains: Vec<_> = of_nodes.chain(of_jobs).collect();
        domains.sort_by(|one, other| (one.counted, &one.name).cmp(&(other.counted, &other.name)));
        let (silent, _) = self.silence.cluster().counts();
        BreakerReport { nodes: self.silence.cluster().of, silent, hold_for: self.hold_for, domains }
    }

    fn domain<U: Ord + Clone>(
        &self,
        (counted, scope, name): (Counted, Scope, Option<String>),
        group: &Group<U>,
        last_release: Option<Moment>,
        unit: impl Fn(&U) -> Unit,
    ) -> Option<DomainReport> {
        let trip = group.trip()?;
        let (affected, of) = group.counts();
        let next = next_release(group.held(), last_release, self.hold_for).filter(|_| self.reporting > 0);
        Some(DomainReport {
            counted,
            scope,
            name,
            since: trip.since,
            returning: trip.returning.is_some(),
            affected,
            of,
            held: group.held().map(|(member, since)| (unit(member), since)).collect(),
            next_release: next.map(|(at, _)| at),
        })
    }
}
