//! Which faults a campaign draws: a function of the seed alone.

use std::time::Duration;

use fastrand::Rng;

use super::history::JobKind;

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
    /// The Job is deleted.
    Delete,
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
    let short_or_long = [between(3, 25), between(40, 80)];
    let mut cards = vec![
        Fault::Node(NodeFault::Crash, between(5, 80)),
        Fault::Node(NodeFault::CrashAndDelete, between(40, 60)),
        Fault::Node(NodeFault::StopKubelet, between(30, 100)),
        Fault::Node(NodeFault::FreezeRuntime, between(60, 130)),
        Fault::Node(NodeFault::BlockReaper, between(20, 70)),
        Fault::Node(NodeFault::Taint, between(5, 10)),
        Fault::Job(JobFault::BlockSidecar, between(20, 90)),
        Fault::Job(JobFault::Suspend, between(10, 40)),
        Fault::Cluster(ClusterFault::StopApiServer, between(10, 60)),
        Fault::Cluster(ClusterFault::RestartEtcd, Duration::ZERO),
        Fault::Cluster(ClusterFault::KillLeader, Duration::ZERO),
        Fault::Cluster(ClusterFault::StopReapers, 2 * lost_after),
        Fault::Cluster(ClusterFault::RemoveAgents, between(30, 60)),
        Fault::Cluster(ClusterFault::Storm, between(20, 70)),
    ];
    cards.extend(short_or_long.map(|duration| Fault::Node(NodeFault::Partition, duration)));
    let at_once = [JobFault::KillWorker, JobFault::KillWorker, JobFault::KillSidecar, JobFault::Delete];
    cards.extend(at_once.map(|fault| Fault::Job(fault, Duration::ZERO)));
    cards
}

/// The kind of the next Job.
pub fn kind(rng: &mut Rng) -> JobKind {
    let mut seconds = |range| Duration::from_secs(rng.u64(range));
    let (long, short, failing) = (seconds(120..600), seconds(20..60), seconds(20..120));
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
    fn each_kind_of_fault_occurs() {
        let storms =
            draws(1, LOST_AFTER).take(200).filter(|draw| matches!(draw.fault, Fault::Cluster(ClusterFault::Storm, _)));
        assert_eq!(storms.count(), 10);
    }
}
