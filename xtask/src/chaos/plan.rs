//! Which faults a campaign draws: a function of the seed alone.

use std::time::Duration;

use fastrand::Rng;

use super::history::Kind;

/// Between two faults, in seconds.
const PAUSE: std::ops::Range<u64> = 8..22;

/// What is done, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// To a node.
    Node(NodeFault, Duration),
    /// To a Job.
    Job(JobFault, Duration),
    /// To the control plane, to jobwarden, or to all nodes at once.
    Cluster(ClusterFault, Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeFault {
    Crash,
    /// Its object is deleted as well.
    CrashAndDelete,
    Partition,
    /// A worker on it is killed a moment later.
    StopKubelet,
    /// A worker on it is killed a moment later.
    FreezeRuntime,
    Wall,
    Taint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobFault {
    KillWorker,
    KillSidecar,
    Mute,
    Suspend,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClusterFault {
    StopApiServer,
    RestartEtcd,
    KillLeader,
    StopReapers,
    RemoveAgents,
    /// Every node but the one of jobwarden is partitioned.
    Storm,
}

/// A fault with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Draw {
    /// How long after the one before.
    pub(super) after: Duration,
    pub(super) fault: Fault,
    /// Which of the nodes or Jobs it may be done to; the remainder counts.
    pub(super) pick: usize,
}

/// The faults of a seed, one after the other, for ever. They are dealt like cards, so that each kind comes round.
pub(super) fn draws(seed: u64, lost_after: Duration) -> impl Iterator<Item = Draw> {
    let mut rng = Rng::with_seed(seed);
    let mut deck = Vec::new();
    std::iter::from_fn(move || {
        if deck.is_empty() {
            deck = cards(&mut rng, lost_after);
            rng.shuffle(&mut deck);
        }
        let fault = deck.pop()?;
        Some(Draw { after: Duration::from_secs(rng.u64(PAUSE)), fault, pick: rng.usize(..1 << 20) })
    })
}

fn cards(rng: &mut Rng, lost_after: Duration) -> Vec<Fault> {
    let mut between = |least: u64, most: u64| Duration::from_secs(rng.u64(least..=most));
    let short_or_long = [between(3, 25), between(40, 80)];
    let mut cards = vec![
        Fault::Node(NodeFault::Crash, between(5, 80)),
        Fault::Node(NodeFault::CrashAndDelete, between(40, 60)),
        Fault::Node(NodeFault::StopKubelet, between(30, 100)),
        Fault::Node(NodeFault::FreezeRuntime, between(60, 130)),
        Fault::Node(NodeFault::Wall, between(20, 70)),
        Fault::Node(NodeFault::Taint, between(5, 10)),
        Fault::Job(JobFault::Mute, between(20, 90)),
        Fault::Job(JobFault::Suspend, between(10, 40)),
        Fault::Cluster(ClusterFault::StopApiServer, between(10, 60)),
        Fault::Cluster(ClusterFault::RestartEtcd, Duration::ZERO),
        Fault::Cluster(ClusterFault::KillLeader, Duration::ZERO),
        Fault::Cluster(ClusterFault::StopReapers, 2 * lost_after),
        Fault::Cluster(ClusterFault::RemoveAgents, between(30, 60)),
        Fault::Cluster(ClusterFault::Storm, between(20, 70)),
    ];
    cards.extend(short_or_long.map(|lasting| Fault::Node(NodeFault::Partition, lasting)));
    let at_once = [JobFault::KillWorker, JobFault::KillWorker, JobFault::KillSidecar, JobFault::Delete];
    cards.extend(at_once.map(|fault| Fault::Job(fault, Duration::ZERO)));
    cards
}

/// What the next Job is for.
pub(super) fn kind(rng: &mut Rng) -> Kind {
    let mut lasting = |range| Duration::from_secs(rng.u64(range));
    let (long, short, failing) = (lasting(120..600), lasting(20..60), lasting(20..120));
    match rng.u8(..100) {
        0..70 => Kind::Works(long),
        70..80 => Kind::Works(short),
        80..90 => Kind::Fails(failing),
        90..96 => Kind::OutOfMemory,
        _ => Kind::NoImage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST_AFTER: Duration = Duration::from_secs(30);

    #[test]
    fn a_seed_draws_the_same_faults_each_time() {
        let some = |seed| draws(seed, LOST_AFTER).take(100).collect::<Vec<_>>();
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
    }

    #[test]
    fn each_kind_of_fault_comes_round() {
        let storms =
            draws(1, LOST_AFTER).take(200).filter(|draw| matches!(draw.fault, Fault::Cluster(ClusterFault::Storm, _)));
        assert_eq!(storms.count(), 10);
    }
}
