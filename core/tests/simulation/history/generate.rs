//! Random histories.

use std::time::Duration;

use super::{HelperPlan, History, JobPlan, PolicyPlan};
use crate::{
    dice::Dice,
    fault::{ClusterFault, Fault, FaultKind, Forgery, JobFault, NodeFault},
};

const MINUTE: Duration = Duration::from_mins(1);
/// `breaker.hold-for`: mostly shorter than the default, because histories are short.
const HOLD_FOR: [Duration; 3] = [Duration::from_mins(2), Duration::from_mins(5), Duration::from_mins(15)];

impl History {
    /// Any cluster, any faults.
    pub(crate) fn any(seed: u64) -> Self {
        let mut dice = Dice::of(seed, [0, 0, 0]);
        // Sometimes a cluster with enough nodes for the breaker to trip, and sometimes one with dense nodes.
        let (large, dense) = (dice.percent(4), dice.percent(1));
        let (nodes, jobs) = match (large, dense) {
            (true, _) => (6 + dice.below(4), 24 + dice.below(17)),
            (false, true) => (3 + dice.below(2), 40 + dice.below(30)),
            (false, false) => (2 + dice.below(4), 1 + dice.below(4)),
        };
        let mut history = Self {
            seed,
            nodes,
            zones: 1 + dice.below(2),
            reapers: 1 + usize::from(dice.percent(40)),
            blind_nodes: if dice.percent(25) { dice.below(nodes + 1) } else { 0 },
            jobs: (0..jobs).map(|_| job(&mut dice)).collect(),
            faults: Vec::new(),
            until: dice.seconds(12 * 60, 20 * 60),
            namespaces: 1 + dice.below(3),
            hold_for: dice.pick(&HOLD_FOR),
            safe_node: false,
            clock_skew: dice.pick(&[0, 120, -120, 100_000]),
        };
        for job in &mut history.jobs {
            job.namespace = dice.below(history.namespaces);
            job.on_node = (dense && dice.percent(70)).then_some(0);
        }
        let faults = if dice.percent(10) { 0 } else { 1 + dice.below(6) };
        history.faults = (0..faults).map(|_| history.fault(&mut dice)).collect();
        if (large || dense) && dice.percent(60) {
            history.faults.extend(history.disaster(&mut dice));
        }
        history.faults.sort_by_key(|fault| fault.at);
        history
    }

    /// A cluster whose faults last, so that the end of a Job does not depend on how soon the reaper evaluates it.
    pub(crate) fn lasting(seed: u64) -> Self {
        let mut dice = Dice::of(seed, [1, 0, 0]);
        let nodes = 2 + dice.below(3);
        let mut jobs: Vec<_> = (0..=dice.below(3)).map(|_| job(&mut dice)).collect();
        let on_lost = dice.pick(&["retry", "fail"]);
        // If the pods of a deleted node are collected before the warm-up is over, Kubernetes ends them and counts a failed pod where
        // the policy would fail the Job.
        let collects = on_lost == "retry";
        let kinds = [NodeFault::Crash, NodeFault::Partition, NodeFault::KubeletStopped, NodeFault::Deleted];
        let kinds = &kinds[..if collects { 4 } else { 3 }];
        for job in &mut jobs {
            job.at = dice.seconds(0, 20);
            job.managed_elsewhere = false;
            // What is measured on the cluster's clock may come before or after what is measured on the reaper's.
            job.policy.active_timeout = None;
            // The timer of a pod that does not start begins anew with each reaper.
            if let Some(helper) = &mut job.helper {
                helper.never_warm = false;
            }
            (job.policy.stranded_after, job.policy.init_timeout) = (None, None);
            job.policy.on_container_exit = "wait";
            // Eviction must not race with the reaper.
            job.toleration = Duration::from_hours(1);
            job.policy.on_lost = on_lost;
        }
        let mut faults: Vec<Fault> = Vec::new();
        for node in 0..nodes - 1 {
            if dice.percent(70) {
                let fault = dice.pick(kinds);
                faults.push(Fault { at: dice.seconds(10, 240), lasts: None, kind: FaultKind::Node(node, fault) });
            }
        }
        faults.sort_by_key(|fault| fault.at);
        let until = Duration::from_mins(25);
        // With a restart, nodes that died at different times look as if they had fallen silent together, and would be held: at most two
        // die, and no two are in one zone.
        faults.truncate(if nodes == 3 { 1 } else { 2 });
        let (namespaces, hold_for) = (1, Duration::from_mins(15));
        Self {
            seed,
            nodes,
            zones: nodes,
            reapers: 1,
            blind_nodes: 0,
            jobs,
            faults,
            until,
            namespaces,
            hold_for,
            safe_node: true,
            clock_skew: 0,
        }
    }

    /// A cluster of three zones, of which the reaper's own is cut off from the two others at the time of the only fault; with Jobs of
    /// several tenants in all of them, some of which choose the shortest patience there is.
    pub(crate) fn partition(seed: u64) -> Self {
        let mut dice = Dice::of(seed, [4, 0, 0]);
        let nodes = 9 + dice.below(4);
        let mut jobs: Vec<_> = (0..3 * nodes).map(|_| job(&mut dice)).collect();
        for (number, job) in jobs.iter_mut().enumerate() {
            (job.at, job.namespace, job.on_node) = (dice.seconds(0, 20), number % 3, Some(number % nodes));
            (job.work, job.init, job.managed_elsewhere) = (Duration::from_hours(1), None, false);
            job.toleration = Duration::from_hours(1);
            (job.helper, job.helpers, job.exits) = (None, None, vec![0]);
            (job.policy.active_timeout, job.policy.stall_after) = (None, None);
            // A tenant that lets its Jobs be lost for want of heartbeats alone, and sooner than they come, gets what it asks for.
            job.policy.unseen = "report";
            if dice.percent(40) {
                let second = Duration::from_secs(1);
                (job.policy.lost_after, job.policy.suspect_after) = (second, second);
            }
        }
        let at = dice.ms(150_000, 240_000);
        let cut_off = |node| Fault { at, lasts: None, kind: FaultKind::Node(node, NodeFault::Partition) };
        let faults = (0..nodes).filter(|node| node % 3 != 0).map(cut_off).collect();
        Self {
            seed,
            nodes,
            zones: 3,
            reapers: 1,
            blind_nodes: if dice.percent(30) { nodes } else { 0 },
            jobs,
            faults,
            until: at + Duration::from_mins(30),
            namespaces: 3,
            hold_for: dice.pick(&HOLD_FOR),
            safe_node: false,
            clock_skew: 0,
        }
    }

    fn fault(&self, dice: &mut Dice) -> Fault {
        let at = dice.ms(1_000, 480_000);
        let longest = if dice.percent(50) { 60_000 } else { 400_000 };
        let lasts = Some(dice.ms(1_000, longest));
        let forever = dice.percent(40);
        let (fault, heals) = match dice.below(100) {
            0..40 => (FaultKind::Node(dice.below(self.nodes), dice.pick(&NODE_FAULTS)), !forever),
            40..75 => (FaultKind::Job(dice.below(self.jobs.len()), dice.pick(&JOB_FAULTS)), !forever),
            _ => (FaultKind::Cluster(self.cluster_fault(dice)), true),
        };
        Fault { at, lasts: lasts.filter(|_| heals), kind: fault }
    }

    fn cluster_fault(&self, dice: &mut Dice) -> ClusterFault {
        let (watch, namespace) = (dice.below(5), dice.below(self.namespaces));
        dice.pick(&[
            ClusterFault::ApiDown,
            ClusterFault::ReaperCutOff,
            ClusterFault::ServiceBroken,
            ClusterFault::OwnBeatLost,
            ClusterFault::WatchExpired(watch),
            ClusterFault::LeaderKilled,
            ClusterFault::LeaderRestarted,
            ClusterFault::ReapersDown,
            ClusterFault::SidecarsSilenced,
            ClusterFault::AgentsGone,
            ClusterFault::NamespaceLeft(namespace),
        ])
    }

    /// A fault of many nodes or pods at once.
    fn disaster(&self, dice: &mut Dice) -> Vec<Fault> {
        let at = dice.seconds(150, 300);
        let lasts = dice.percent(50).then(|| dice.seconds(60, 300));
        if dice.percent(50) {
            let fault = FaultKind::Cluster(ClusterFault::SidecarsSilenced);
            let agents = FaultKind::Cluster(ClusterFault::AgentsGone);
            return [fault, agents].map(|fault| Fault { at, lasts, kind: fault }).into();
        }
        let zone = dice.below(self.zones);
        let fault = dice.pick(&[NodeFault::Crash, NodeFault::Partition, NodeFault::Deleted]);
        // Sometimes most of the cluster, and sometimes one node with all that it carries.
        let (most, one) = (dice.percent(30), dice.percent(20));
        let nodes = (0..self.nodes)
            .filter(|&node| if one { node == 0 } else { node % self.zones == zone || (most && node % 3 != 0) });
        nodes.map(|node| Fault { at, lasts, kind: FaultKind::Node(node, fault) }).collect()
    }
}

const NODE_FAULTS: [NodeFault; 11] = [
    NodeFault::Crash,
    NodeFault::Partition,
    NodeFault::KubeletStopped,
    NodeFault::KubeletMute,
    NodeFault::PodNetworkBroken,
    NodeFault::AgentGone,
    NodeFault::AgentBlind,
    NodeFault::Deleted,
    NodeFault::OutOfService,
    NodeFault::ShutDown,
    NodeFault::NotReady,
];

const JOB_FAULTS: [JobFault; 23] = [
    JobFault::ImageMissing,
    JobFault::ConfigMissing,
    JobFault::SidecarImageMissing,
    JobFault::Unschedulable,
    JobFault::QuotaExceeded,
    JobFault::WorkerKilled,
    JobFault::OomKilled,
    JobFault::SidecarKilled,
    JobFault::SidecarTerminated,
    JobFault::SidecarBlocked,
    JobFault::KubeletIgnoresPod,
    JobFault::Suspended,
    JobFault::ScaledDown,
    JobFault::Deleted,
    JobFault::Orphaned,
    JobFault::PodDeleted,
    JobFault::Stalled,
    JobFault::WritesRefused,
    JobFault::OptsOut,
    JobFault::LabelRemoved,
    JobFault::OptsOutWithoutLabel,
    JobFault::PodForged(Forgery::Namespace),
    JobFault::PodForged(Forgery::Label),
];

fn job(dice: &mut Dice) -> JobPlan {
    let exits = match dice.below(4) {
        0 => vec![1, 0],
        1 => vec![3],
        _ => vec![0],
    };
    // Enough failures in a row that the Job controller pauses for longer than start-timeout.
    let fails_often = dice.percent(6);
    let helper = dice.percent(15).then(|| HelperPlan {
        warm_up: if dice.percent(50) { dice.seconds(1, 240) } else { dice.seconds(5, 20) },
        never_warm: dice.percent(25),
    });
    // An image that is missing has an effect only before the pod starts, so some Jobs start late.
    let at = if dice.percent(70) { dice.seconds(0, 30) } else { dice.seconds(30, 300) };
    let lost_after = dice.pick(&[Duration::from_secs(20), Duration::from_secs(30), MINUTE, 2 * MINUTE, 2 * MINUTE]);
    JobPlan {
        at,
        namespace: 0,
        on_node: None,
        pods: if dice.percent(75) { 1 } else { 2 + dice.below(2) },
        mains: if dice.percent(75) { 1 } else { 2 },
        helper,
        init: dice.percent(25).then(|| dice.seconds(1, 240)),
        backoff_limit: if fails_often { 7 } else { dice.below(3) },
        replaces_only_failed: dice.percent(15),
        restarts: dice.percent(25),
        work: if fails_often {
            dice.seconds(1, 10)
        } else if dice.percent(50) {
            dice.seconds(20, 400)
        } else {
            2 * dice.seconds(200, 600)
        },
        helpers: dice.percent(40).then(|| dice.seconds(10, 600)),
        exits: if fails_often { vec![3] } else { exits },
        grace: dice.pick(&[Duration::ZERO, Duration::from_secs(5), Duration::from_secs(30), 2 * MINUTE]),
        ignores_sigterm: dice.percent(20),
        toleration: dice.pick(&[Duration::ZERO, 5 * MINUTE, 60 * MINUTE]),
        sidecar: !dice.percent(5),
        managed_elsewhere: dice.percent(3),
        owned: dice.percent(20),
        safe_to_duplicate: dice.percent(15),
        policy: PolicyPlan {
            suspect_after: dice
                .pick(&[Duration::from_secs(20), Duration::from_secs(30), Duration::from_secs(30)])
                .min(lost_after),
            lost_after,
            start_timeout: if fails_often { MINUTE } else { dice.pick(&[MINUTE, 2 * MINUTE, 5 * MINUTE]) },
            retention: dice.pick(&[MINUTE, 60 * MINUTE]),
            on_lost: dice.pick(&["retry", "retry", "fail", "report"]),
            unseen: dice.pick(&["report", "report", "report", "lost"]),
            not_starting: dice.pick(&["report", "report", "fail"]),
            unscheduled_timeout: dice.percent(25).then(|| dice.seconds(30, 120)),
            active_timeout: dice.percent(15).then(|| dice.seconds(60, 600)),
            stall_after: dice.percent(40).then(|| dice.seconds(40, 120)),
            init_timeout: dice.percent(25).then(|| dice.seconds(20, 200)),
            stranded_after: dice.percent(80).then(|| dice.seconds(30, 300)),
            on_container_exit: dice.pick(&["wait", "wait", "fail"]),
        },
    }
}
