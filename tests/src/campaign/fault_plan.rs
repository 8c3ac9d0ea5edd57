//! Which faults a campaign draws: a function of the seed alone.

use std::time::Duration;

use fastrand::Rng;

use super::history::{JobKind, Propagation};
use crate::faults::Refusal;

/// The time between two faults, in seconds.
const PAUSE: std::ops::Range<u64> = 8..22;

/// A fault and its duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Of one node.
    Node(NodeFault, Duration),
    /// Of one Job.
    Job(JobFault, Duration),
    /// Of the control plane, of jobwarden, or of all nodes at once.
    Cluster(ClusterFault, Duration),
}

/// A fault of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFault {
    /// A power cut.
    Crash,
    /// A power cut of the node that carries most workers, for longer than it takes to detect.
    DenseCrash,
    /// A power cut of a few seconds: the node boots again, with another boot ID.
    Reboot,
    /// A power cut, and the Node object is deleted.
    CrashAndDelete,
    /// The network link is down.
    Partition,
    /// The kubelet is stopped; shortly afterwards a worker on the node is killed.
    StopKubelet,
    /// The container runtime is frozen; shortly afterwards a worker on the node is killed.
    FreezeRuntime,
    /// Traffic to the reaper is dropped.
    BlockReaper,
    /// A `NoExecute` taint evicts every pod.
    Taint,
    /// The node is cordoned and its workers are evicted, as `kubectl drain` does.
    Drain,
}

/// A fault of one Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobFault {
    /// The worker's process is killed.
    KillWorker,
    /// The sidecar's process is killed.
    KillSidecar,
    /// Traffic of the pod is dropped.
    BlockSidecar,
    /// The Job is suspended and resumed.
    Suspend,
    /// The Job is scaled down to no pod, and up again.
    ScaleDown,
    /// The Job is deleted.
    Delete(Propagation),
}

/// A fault of the control plane, of jobwarden, or of all nodes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterFault {
    /// The API server is stopped.
    StopApiServer,
    /// etcd is restarted.
    RestartEtcd,
    /// The leading reaper is killed.
    KillLeader,
    /// All reapers are stopped.
    StopReapers,
    /// All agents are stopped.
    RemoveAgents,
    /// Every node is partitioned, except the node of jobwarden.
    Storm,
    /// The clock of the reapers' host is wrong by so many seconds.
    SkewClock(i64),
    /// The API server refuses what the reaper writes to Jobs and pods.
    RefuseWrites(Refusal),
}

/// A drawn fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The time since the previous fault.
    pub after: Duration,
    /// The fault.
    pub fault: Fault,
    /// Selects one of the possible nodes or Jobs, modulo their number.
    pub pick: usize,
}

/// The endless sequence of faults of a seed. They are dealt like cards from a shuffled deck, so that each kind occurs.
pub fn draws(seed: u64, lost_after: Duration) -> impl Iterator<Item = Draw> {
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
    let until_lost = lost_after.as_secs();
    let mut cards = [
        (NodeFault::Crash, between(5, 80)),
        (NodeFault::DenseCrash, between(until_lost + 15, until_lost + 70)),
        (NodeFault::CrashAndDelete, between(40, 60)),
        (NodeFault::Reboot, between(2, 8)),
        (NodeFault::Reboot, between(2, 8)),
        (NodeFault::Partition, between(3, 25)),
        (NodeFault::Partition, between(40, 80)),
        (NodeFault::StopKubelet, between(30, 100)),
        // Shorter and longer than the kubelet itself waits for its runtime.
        (NodeFault::FreezeRuntime, between(60, 130)),
        (NodeFault::FreezeRuntime, between(230, 250)),
        (NodeFault::BlockReaper, between(20, 70)),
        (NodeFault::Taint, between(5, 10)),
        (NodeFault::Drain, between(15, 40)),
    ]
    .map(|(fault, duration)| Fault::Node(fault, duration))
    .to_vec();
    let of_jobs = [
        (JobFault::KillWorker, Duration::ZERO),
        (JobFault::KillWorker, Duration::ZERO),
        (JobFault::KillSidecar, Duration::ZERO),
        (JobFault::BlockSidecar, between(20, 90)),
        // Possibly so short that the Job controller never acts.
        (JobFault::Suspend, between(0, 3)),
        (JobFault::Suspend, between(10, 40)),
        (JobFault::ScaleDown, between(0, 3)),
        (JobFault::ScaleDown, between(10, 40)),
        (JobFault::Delete(Propagation::Background), Duration::ZERO),
        (JobFault::Delete(Propagation::Foreground), Duration::ZERO),
        (JobFault::Delete(Propagation::Orphan), Duration::ZERO),
    ];
    cards.extend(of_jobs.map(|(fault, duration)| Fault::Job(fault, duration)));
    let of_cluster = [
        (ClusterFault::StopApiServer, between(10, 60)),
        (ClusterFault::RestartEtcd, Duration::ZERO),
        (ClusterFault::KillLeader, Duration::ZERO),
        (ClusterFault::StopReapers, 2 * lost_after),
        (ClusterFault::RemoveAgents, between(30, 60)),
        (ClusterFault::Storm, between(20, 70)),
        (ClusterFault::SkewClock(120), between(60, 90)),
        (ClusterFault::SkewClock(-120), between(60, 90)),
        (ClusterFault::RefuseWrites(Refusal::ByPolicy), between(40, 90)),
        (ClusterFault::RefuseWrites(Refusal::ByRights), between(40, 90)),
    ];
    cards.extend(of_cluster.map(|(fault, duration)| Fault::Cluster(fault, duration)));
    cards
}

/// The kind of the next Job.
pub fn kind(rng: &mut Rng) -> JobKind {
    let mut seconds = |range| Duration::from_secs(rng.u64(range));
    let (long, short, failing) = (seconds(180..900), seconds(20..60), seconds(20..120));
    match rng.u8(..100) {
        0..70 => JobKind::Succeeds(long),
        70..80 => JobKind::Succeeds(short),
        80..90 => JobKind::Fails(failing),
        90..96 => JobKind::OutOfMemory,
        _ => JobKind::MissingImage,
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
    fn each_kind_of_fault_occurs_once_in_a_deck() {
        let deck = cards(&mut Rng::with_seed(1), LOST_AFTER).len();
        let drawn: Vec<_> = draws(1, LOST_AFTER).take(3 * deck).map(|draw| draw.fault).collect();
        let count = |is: fn(&Fault) -> bool| drawn.iter().filter(|fault| is(fault)).count();
        assert_eq!(count(|fault| matches!(fault, Fault::Cluster(ClusterFault::Storm, _))), 3);
        assert_eq!(count(|fault| matches!(fault, Fault::Node(NodeFault::DenseCrash, _))), 3);
        assert_eq!(count(|fault| matches!(fault, Fault::Node(NodeFault::Reboot, _))), 6);
        assert_eq!(count(|fault| matches!(fault, Fault::Job(JobFault::Delete(Propagation::Orphan), _))), 3);
        assert_eq!(count(|fault| matches!(fault, Fault::Cluster(ClusterFault::SkewClock(_), _))), 6);
    }

    #[test]
    fn a_campaign_of_half_an_hour_draws_each_kind_of_fault() {
        let deck = cards(&mut Rng::with_seed(1), LOST_AFTER).len();
        let mut at = Duration::ZERO;
        let in_time = draws(1, LOST_AFTER).take_while(|draw| {
            at += draw.after;
            at < Duration::from_mins(30)
        });
        assert!(in_time.count() >= 3 * deck);
    }

    #[test]
    fn a_dense_crash_lasts_until_it_is_detected() {
        let of_dense = |draw: Draw| match draw.fault {
            Fault::Node(NodeFault::DenseCrash, duration) => Some(duration),
            _ => None,
        };
        let durations: Vec<_> = draws(3, LOST_AFTER).take(500).filter_map(of_dense).collect();
        assert!(
            durations.len() > 10 && durations.iter().all(|duration| *duration > LOST_AFTER + Duration::from_secs(10))
        );
    }
}
