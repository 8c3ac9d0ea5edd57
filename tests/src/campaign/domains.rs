//! The rule of the breaker, as the design states it and without a look at its code: how many failure domains (nodes) are silent?

use std::collections::BTreeMap;
use std::time::Duration;

use super::history::{CampaignTime, History, NodeHistory};

/// With fewer silent nodes the breaker holds nothing, however many Jobs they carry.
const SILENT_NODES: usize = 3;
/// It holds if more than this share of the nodes that carry workers is silent, in percent…
const OF_CLUSTER: usize = 30;
/// …or this share of the nodes of a zone…
const OF_ZONE: usize = 55;
/// …which has at least so many that carry workers.
const ZONE_NODES: usize = 3;
/// How long the breaker may hold before it releases one node a minute.
const HOLD_FOR: Duration = Duration::from_mins(15);
/// The time between two such releases.
const RELEASE: Duration = Duration::from_mins(1);
/// Nodes whose silence began further apart did not fall silent together.
const TOGETHER: Duration = Duration::from_mins(5);
/// How long after it was repaired a node may count as silent: its sidecars reconnect within 17 s, and the breaker waits until none has
/// returned for half a minute.
const RETURN: Duration = Duration::from_secs(50);

/// The nodes that carry workers, and those of them that are silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that are silent, or were until lately.
    pub silent: usize,
    /// All of them.
    pub carrying: usize,
}

impl Count {
    fn is_suspicious(self) -> bool {
        self.silent >= SILENT_NODES && self.silent * 100 > self.carrying * OF_CLUSTER
    }

    fn is_suspicious_in_zone(self) -> bool {
        self.carrying >= ZONE_NODES && self.silent * 100 >= self.carrying * OF_ZONE
    }
}

/// The nodes that carry workers at this time, or have lost them so lately that the breaker may count them.
pub fn count(history: &History, lost_after: Duration, at: CampaignTime) -> Count {
    counted(history, lost_after, at, TOGETHER).map(|(_, silent)| silent).fold(Count::default(), add)
}

/// The number of nodes that carry workers at this time.
pub fn carrying(history: &History, at: CampaignTime) -> usize {
    counted(history, Duration::ZERO, at, Duration::ZERO).count()
}

/// Whether the breaker may hold at this time. It is generous: what is counted at which moment is the breaker's to decide.
pub fn may_hold(history: &History, lost_after: Duration, at: CampaignTime) -> bool {
    let mut zones: BTreeMap<&str, Count> = BTreeMap::new();
    for (node, silent) in counted(history, lost_after, at, TOGETHER) {
        if let Some(zone) = &node.zone {
            let count = zones.entry(zone).or_default();
            *count = add(*count, silent);
        }
    }
    count(history, lost_after, at).is_suspicious() || zones.into_values().any(Count::is_suspicious_in_zone)
}

/// Whether the breaker has to hold the losses on nodes that were cut off in one instant.
pub fn must_hold(history: &History, at: CampaignTime, resume: Duration) -> bool {
    history.storms.iter().any(|storm| {
        let count = Count { silent: storm.silent, carrying: storm.carrying };
        let lasts = storm.span.from <= at && storm.span.until.is_none_or(|until| at <= until + resume);
        count.is_suspicious() && lasts && at <= storm.span.from + HOLD_FOR
    })
}

/// How long a hold can last.
pub fn longest_hold(nodes: usize) -> Duration {
    HOLD_FOR + RELEASE * u32::try_from(nodes).unwrap_or(u32::MAX)
}

/// Each node that carries workers, or did so up to `ago` before, and whether it is silent. A node that lost all its workers in the same
/// event is still one of those that fell silent.
fn counted(
    history: &History,
    lost_after: Duration,
    at: CampaignTime,
    ago: Duration,
) -> impl Iterator<Item = (&NodeHistory, bool)> {
    let lately = at.saturating_sub(ago);
    let carries = move |name: &str| {
        history.jobs.iter().any(|job| job.node == name && (job.is_open(at) || job.is_open(lately.max(job.submitted))))
    };
    let carrying = history.nodes.iter().filter(move |(name, _)| carries(name));
    carrying.map(move |(_, node)| (node, node.was_silent(at.saturating_sub(lost_after + RETURN), at)))
}

fn add(count: Count, silent: bool) -> Count {
    Count { silent: count.silent + usize::from(silent), carrying: count.carrying + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::history::{Condition, JobHistory, JobKind, Span, Storm};

    const LOST_AFTER: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> CampaignTime {
        Duration::from_secs(seconds)
    }

    /// So many nodes with 26 Jobs each, of which the first `silent` have been cut off since 100.
    fn mk_history(nodes: usize, silent: usize) -> History {
        let mut history = History::default();
        for number in 0..nodes {
            let node = format!("node-{number}");
            history.node(&node);
            for job in 0..26 {
                let name = format!("job-{number}-{job}");
                history.jobs.push(JobHistory::new(&name, &node, JobKind::Succeeds(at(1000)), at(0)));
            }
            if number < silent {
                history.node(&node).set_condition(at(100), Condition::CutOff);
            }
        }
        history
    }

    #[test]
    fn nodes_count_and_not_their_jobs() {
        for (nodes, silent, holds) in
            [(4, 1, false), (4, 2, false), (3, 2, false), (4, 3, true), (10, 3, false), (9, 3, true), (20, 6, false)]
        {
            assert_eq!(may_hold(&mk_history(nodes, silent), LOST_AFTER, at(130)), holds, "{silent} of {nodes}");
        }
    }

    #[test]
    fn most_nodes_of_a_zone_count() {
        for (of_zone, silent, holds) in [(2, 2, false), (3, 1, false), (3, 2, true), (5, 2, false), (5, 3, true)] {
            let mut history = mk_history(20, silent);
            for number in 0..of_zone {
                history.node(&format!("node-{number}")).zone = Some("a".to_owned());
            }
            assert_eq!(may_hold(&history, LOST_AFTER, at(130)), holds, "{silent} of {of_zone}");
        }
    }

    #[test]
    fn a_node_without_jobs_does_not_count_and_a_repaired_one_counts_for_a_while() {
        let mut history = mk_history(4, 3);
        for node in ["node-0", "node-1", "node-2"] {
            history.node(node).set_condition(at(150), Condition::Healthy);
        }
        assert!(may_hold(&history, LOST_AFTER, at(200)));
        assert!(!may_hold(&history, LOST_AFTER, at(240)));
        let mut history = mk_history(4, 3);
        for job in history.jobs.iter_mut().filter(|job| job.node == "node-0") {
            job.finished = Some(at(132));
        }
        assert!(may_hold(&history, LOST_AFTER, at(180)), "its losses were acted on lately");
        assert!(!may_hold(&history, LOST_AFTER, at(450)));
    }

    #[test]
    fn the_breaker_has_to_hold_what_goes_silent_in_one_instant_and_not_for_ever() {
        let mut history = mk_history(4, 3);
        history.storms.push(Storm { span: Span::open(at(100)), silent: 3, carrying: 4 });
        assert!(must_hold(&history, at(131), at(17)));
        assert!(!must_hold(&history, at(99), at(17)));
        assert!(!must_hold(&history, at(1001), at(17)));
        history.storms[0].silent = 2;
        assert!(!must_hold(&history, at(131), at(17)));
    }
}
