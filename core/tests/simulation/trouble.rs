//! Faults, as they begin and end.

use std::time::Duration;

use crate::{
    fault::{OfCluster, OfJob, OfNode, What},
    kubernetes::pod::Run,
    reaper::watches::Kind,
    world::World,
};

/// The exit code of a process that got SIGKILL, and that it was not for want of memory.
const KILLED: (i32, bool) = (137, false);

/// Counts a reason more or less.
fn count(reasons: &mut u32, on: bool) {
    *reasons = if on { *reasons + 1 } else { reasons.saturating_sub(1) };
}

impl World<'_> {
    pub(crate) fn begin(&mut self, fault: usize) {
        let fault = self.history.faults[fault];
        self.note(|| format!("FAULT {fault}"));
        self.turn(fault.what, true);
    }

    pub(crate) fn end(&mut self, fault: usize) {
        let fault = self.history.faults[fault];
        self.note(|| format!("END OF FAULT {fault}"));
        self.turn(fault.what, false);
    }

    fn turn(&mut self, what: What, on: bool) {
        match what {
            What::Node(node, what) => self.turn_node(node, what, on),
            What::Job(job, what) => self.turn_job(job, what, on),
            What::Cluster(what) => self.turn_cluster(what, on),
        }
        self.update_listening();
    }

    fn turn_node(&mut self, node: usize, what: OfNode, on: bool) {
        let it = &mut self.nodes[node];
        match what {
            OfNode::Crash => return self.turn_power(node, on),
            OfNode::Partition => count(&mut it.cut_off, on),
            OfNode::KubeletStopped => count(&mut it.kubelet_stopped, on),
            OfNode::KubeletMute => count(&mut it.kubelet_mute, on),
            OfNode::PodNetworkBroken => count(&mut it.pod_network_broken, on),
            OfNode::AgentBlind => count(&mut it.agent_blind, on),
            OfNode::NotReady => count(&mut it.not_ready, on),
            OfNode::AgentGone => {
                count(&mut it.agent_gone, on);
                self.forget_what_agents_saw(Some(node));
            }
            OfNode::Deleted => {
                self.turn_power(node, on);
                if on {
                    self.delete_node(node);
                } else if self.nodes[node].down == 0 {
                    self.register_node(node);
                }
                return;
            }
            OfNode::OutOfService => {
                count(&mut it.out_of_service, on);
                let first_or_last = it.out_of_service == u32::from(on);
                if first_or_last {
                    self.taint_out_of_service(node, on);
                }
                return self.turn_power(node, on);
            }
        }
        if !on {
            self.kubelet_is_back(node);
        }
    }

    /// Of a node that was deleted, whoever turns it on registers it.
    fn turn_power(&mut self, node: usize, on: bool) {
        count(&mut self.nodes[node].down, on);
        match (on, self.nodes[node].down) {
            (true, 1) => {
                for pod in (0..self.pods.len()).filter(|&pod| self.pods[pod].node == Some(node)).collect::<Vec<_>>() {
                    self.die_with_node(pod);
                }
            }
            (false, 0) => {
                if !self.nodes[node].exists {
                    self.register_node(node);
                }
                self.kubelet_is_back(node);
            }
            _ => {}
        }
    }

    /// An agent that starts anew has seen nothing before.
    fn forget_what_agents_saw(&mut self, node: Option<usize>) {
        for pod in self.pods.iter_mut().filter(|pod| node.is_none() || pod.node == node) {
            pod.truth.seen.clear();
        }
    }

    fn turn_job(&mut self, job: usize, what: OfJob, on: bool) {
        let it = &mut self.jobs[job];
        match what {
            OfJob::ImageMissing => count(&mut it.image_missing, on),
            OfJob::ConfigMissing => count(&mut it.config_missing, on),
            OfJob::SidecarImageMissing => count(&mut it.sidecar_missing, on),
            OfJob::Unschedulable => count(&mut it.unschedulable, on),
            OfJob::QuotaExceeded => count(&mut it.over_quota, on),
            OfJob::Suspended => {
                count(&mut it.suspended, on);
                if it.exists && !it.has_finished() {
                    self.publish(Kind::Job(job), false);
                    self.sync_job_soon(job);
                }
            }
            OfJob::Deleted | OfJob::Orphaned if on && self.cluster.api_is_up() => {
                self.delete_job(job, what == OfJob::Orphaned);
            }
            OfJob::Deleted | OfJob::Orphaned => {}
            _ => {
                let latest = it.attempts.iter().rev().find(|&&pod| self.pods[pod].is_open()).copied();
                if let Some(pod) = latest {
                    self.turn_pod(pod, what, on);
                }
            }
        }
    }

    fn turn_pod(&mut self, pod: usize, what: OfJob, on: bool) {
        let truth = &mut self.pods[pod].truth;
        let sidecar_runs = truth.containers.sidecar.is_some_and(|it| it.is_alive());
        match what {
            OfJob::SidecarBlocked => count(&mut truth.blocked, on),
            OfJob::Stalled => {
                let since = truth.stalled.map_or(self.now, |(since, _)| since);
                truth.stalled = Some(if on { (self.now, None) } else { (since, Some(self.now)) });
            }
            OfJob::KubeletLosesPod if truth.known => {
                truth.lost_sight = on;
                self.notice_soon(pod);
            }
            _ if !on => {}
            OfJob::WorkerKilled => self.kill_worker(pod, KILLED),
            OfJob::OomKilled => self.kill_worker(pod, (137, true)),
            OfJob::SidecarKilled | OfJob::SidecarTerminated if sidecar_runs => {
                if what == OfJob::SidecarTerminated {
                    self.last_beat(pod);
                }
                self.set_sidecar(pod, Run::Restarting { code: 137, oom: false });
                self.after(Duration::from_secs(1), crate::world::Event::Kubelet(pod));
            }
            OfJob::PodDeleted if self.cluster.api_is_up() => self.delete_pod(pod),
            _ => {}
        }
    }

    fn kill_worker(&mut self, pod: usize, (code, oom): (i32, bool)) {
        for main in 0..self.pods[pod].truth.containers.mains.len() {
            let run = self.pods[pod].truth.containers.mains[main].run;
            self.main_ends(pod, main, run, code, oom);
        }
    }

    fn turn_cluster(&mut self, what: OfCluster, on: bool) {
        let it = &mut self.cluster;
        match what {
            OfCluster::ApiDown => {
                count(&mut it.api_down, on);
                match (on, self.cluster.api_down) {
                    (true, 1) => self.break_watches(),
                    (false, 0) => self.api_is_back(),
                    _ => {}
                }
            }
            OfCluster::ReaperCutOff => {
                count(&mut it.reapers_cut_off, on);
                match (on, self.cluster.reapers_cut_off) {
                    (true, 1) => self.silence_watches(),
                    (false, 0) => self.watches_may_resume(),
                    _ => {}
                }
            }
            OfCluster::ServiceBroken => count(&mut it.service_broken, on),
            OfCluster::OwnBeatLost => count(&mut it.own_beat_lost, on),
            OfCluster::SidecarsSilenced => count(&mut it.sidecars_silenced, on),
            OfCluster::AgentsGone => {
                count(&mut it.agents_gone, on);
                self.forget_what_agents_saw(None);
            }
            OfCluster::ReapersDown => {
                count(&mut it.reapers_down, on);
                match (on, self.cluster.reapers_down) {
                    (true, 1) => self.stop_all_reapers(),
                    (false, 0) => self.start_all_reapers(),
                    _ => {}
                }
            }
            OfCluster::WatchExpired(watch) if on => self.expire_watch(watch),
            OfCluster::LeaderKilled if on => self.stop_leader(true),
            OfCluster::LeaderRestarted if on => self.stop_leader(false),
            OfCluster::WatchExpired(_) | OfCluster::LeaderKilled | OfCluster::LeaderRestarted => {}
        }
    }

    fn api_is_back(&mut self) {
        for job in 0..self.jobs.len() {
            self.sync_job_soon(job);
        }
        for node in 0..self.nodes.len() {
            self.kubelet_is_back(node);
        }
        self.watches_may_resume();
    }
}
