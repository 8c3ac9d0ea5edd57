//! Begin and end of faults.

use std::time::Duration;

use crate::{
    fault::{ClusterFault, FaultKind, JobFault, NodeFault},
    state::{pod::Run, watch::Kind},
    world::World,
};

/// The exit code of a process that got SIGKILL, and that it was not OOM-killed.
const KILLED: (i32, bool) = (137, false);

/// Adds or removes a cause.
fn count(reasons: &mut u32, on: bool) {
    *reasons = if on { *reasons + 1 } else { reasons.saturating_sub(1) };
}

impl World<'_> {
    pub(crate) fn begin_fault(&mut self, fault: usize) {
        let fault = self.history.faults[fault];
        self.log(|| format!("FAULT {fault}"));
        self.apply_fault(fault.kind, true);
    }

    pub(crate) fn end_fault(&mut self, fault: usize) {
        let fault = self.history.faults[fault];
        self.log(|| format!("END OF FAULT {fault}"));
        self.apply_fault(fault.kind, false);
    }

    fn apply_fault(&mut self, fault: FaultKind, on: bool) {
        match fault {
            FaultKind::Node(node, fault) => self.apply_node_fault(node, fault, on),
            FaultKind::Job(job, fault) => self.apply_job_fault(job, fault, on),
            FaultKind::Cluster(fault) => self.apply_cluster_fault(fault, on),
        }
        self.update_signal_clock();
    }

    fn apply_node_fault(&mut self, node: usize, fault: NodeFault, on: bool) {
        let it = &mut self.nodes[node];
        match fault {
            NodeFault::Crash => return self.set_power(node, on),
            NodeFault::Partition => count(&mut it.cut_off, on),
            NodeFault::KubeletStopped => count(&mut it.kubelet_stopped, on),
            NodeFault::KubeletMute => count(&mut it.kubelet_mute, on),
            NodeFault::PodNetworkBroken => count(&mut it.pod_network_broken, on),
            NodeFault::AgentBlind => count(&mut it.agent_blind, on),
            NodeFault::NotReady => count(&mut it.not_ready, on),
            NodeFault::AgentGone => {
                count(&mut it.agent_gone, on);
                self.reset_agents(Some(node));
            }
            NodeFault::Deleted => {
                self.set_power(node, on);
                if on {
                    self.delete_node(node);
                } else if self.nodes[node].down == 0 {
                    self.register_node(node);
                }
                return;
            }
            NodeFault::ShutDown => {
                count(&mut it.shut_down, on);
                if !it.ready {
                    self.provider_looks_at(node);
                }
                return self.set_power(node, on);
            }
            NodeFault::OutOfService => {
                count(&mut it.out_of_service, on);
                let first_or_last = it.out_of_service == u32::from(on);
                if first_or_last {
                    self.taint_out_of_service(node, on);
                }
                return self.set_power(node, on);
            }
        }
        if !on {
            self.kubelet_is_back(node);
        }
    }

    /// A node that was deleted is registered again when it is turned on.
    fn set_power(&mut self, node: usize, on: bool) {
        count(&mut self.nodes[node].down, on);
        match (on, self.nodes[node].down) {
            (true, 1) => {
                for pod in (0..self.pods.len()).filter(|&pod| self.pods[pod].node == Some(node)).collect::<Vec<_>>() {
                    self.die_with_node(pod);
                }
            }
            (false, 0) => {
                self.nodes[node].boots += 1;
                if !self.nodes[node].exists {
                    self.register_node(node);
                }
                self.kubelet_is_back(node);
            }
            _ => {}
        }
    }

    /// An agent that has just started has seen nothing before.
    fn reset_agents(&mut self, node: Option<usize>) {
        for pod in self.pods.iter_mut().filter(|pod| node.is_none() || pod.node == node) {
            pod.actual.seen.clear();
        }
    }

    fn apply_job_fault(&mut self, job: usize, fault: JobFault, on: bool) {
        let it = &mut self.jobs[job];
        match fault {
            JobFault::ImageMissing => count(&mut it.image_missing, on),
            JobFault::ConfigMissing => count(&mut it.config_missing, on),
            JobFault::SidecarImageMissing => count(&mut it.sidecar_missing, on),
            JobFault::Unschedulable => count(&mut it.unschedulable, on),
            JobFault::QuotaExceeded => count(&mut it.over_quota, on),
            JobFault::WritesRefused => count(&mut it.writes_refused, on),
            JobFault::Suspended | JobFault::ScaledDown => {
                count(if fault == JobFault::Suspended { &mut it.suspended } else { &mut it.scaled_down }, on);
                if it.exists && !it.has_finished() {
                    self.publish(Kind::Job(job), false);
                    self.sync_job_soon(job);
                }
            }
            JobFault::Deleted | JobFault::Orphaned if on && self.cluster.api_is_up() => {
                self.delete_job(job, fault == JobFault::Orphaned);
            }
            // A Job is admitted when it is created; what changes it needs the API server.
            JobFault::OptsOut | JobFault::OptsOutWithoutLabel if it.exists || !on => {
                self.opt_out(job, on, on && fault == JobFault::OptsOutWithoutLabel);
            }
            JobFault::LabelRemoved if on && it.exists => self.remove_label(job),
            JobFault::PodForged(forgery) if on => self.forge_pod(job, forgery),
            JobFault::Deleted
            | JobFault::Orphaned
            | JobFault::OptsOut
            | JobFault::OptsOutWithoutLabel
            | JobFault::LabelRemoved
            | JobFault::PodForged(_) => {}
            _ => {
                let latest = it.attempts.iter().rev().find(|&&pod| self.pods[pod].is_open()).copied();
                if let Some(pod) = latest {
                    self.apply_pod_fault(pod, fault, on);
                }
            }
        }
    }

    fn apply_pod_fault(&mut self, pod: usize, fault: JobFault, on: bool) {
        let actual = &mut self.pods[pod].actual;
        let sidecar_runs = actual.containers.sidecar.is_some_and(|it| it.is_running());
        match fault {
            JobFault::SidecarBlocked => count(&mut actual.blocked, on),
            JobFault::Stalled => {
                actual.stalled = match actual.stalled {
                    Some((since, None)) => Some((since, (!on).then_some(self.now))),
                    _ if on => Some((self.now, None)),
                    // Of two that overlap, the first to end ends both.
                    ended => ended,
                };
            }
            JobFault::KubeletIgnoresPod if actual.known => {
                actual.ignored_by_kubelet = on;
                self.kubelet_sync_soon(pod);
            }
            _ if !on => {}
            JobFault::WorkerKilled => self.kill_worker(pod, KILLED),
            JobFault::OomKilled => self.kill_worker(pod, (137, true)),
            JobFault::SidecarKilled | JobFault::SidecarTerminated if sidecar_runs => {
                if fault == JobFault::SidecarTerminated {
                    self.last_beat(pod);
                }
                self.set_sidecar(pod, Run::Restarting { code: 137, oom: false });
                self.after(Duration::from_secs(1), crate::world::Event::KubeletSync(pod));
            }
            JobFault::PodDeleted if self.cluster.api_is_up() => self.delete_pod(pod),
            _ => {}
        }
    }

    fn kill_worker(&mut self, pod: usize, (code, oom): (i32, bool)) {
        for main in 0..self.pods[pod].actual.containers.mains.len() {
            let run = self.pods[pod].actual.containers.mains[main].run;
            self.main_ends(pod, main, run, code, oom);
        }
    }

    fn apply_cluster_fault(&mut self, fault: ClusterFault, on: bool) {
        let it = &mut self.cluster;
        match fault {
            ClusterFault::ApiDown => {
                count(&mut it.api_down, on);
                match (on, self.cluster.api_down) {
                    (true, 1) => self.break_watches(),
                    (false, 0) => self.api_is_back(),
                    _ => {}
                }
            }
            ClusterFault::ReaperCutOff => {
                count(&mut it.reapers_cut_off, on);
                match (on, self.cluster.reapers_cut_off) {
                    (true, 1) => self.stall_watches(),
                    (false, 0) => self.watches_may_resume(),
                    _ => {}
                }
            }
            ClusterFault::ServiceBroken => count(&mut it.service_broken, on),
            ClusterFault::OwnBeatLost => count(&mut it.own_beat_lost, on),
            ClusterFault::SidecarsSilenced => count(&mut it.sidecars_silenced, on),
            ClusterFault::AgentsGone => {
                count(&mut it.agents_gone, on);
                self.reset_agents(None);
            }
            ClusterFault::ReapersDown => {
                count(&mut it.reapers_down, on);
                match (on, self.cluster.reapers_down) {
                    (true, 1) => self.stop_all_reapers(),
                    (false, 0) => self.start_all_reapers(),
                    _ => {}
                }
            }
            ClusterFault::NamespaceLeft(namespace) => self.namespace_changed(namespace, on),
            ClusterFault::WatchExpired(watch) if on => self.expire_watch(watch),
            ClusterFault::LeaderKilled if on => self.stop_leader(true),
            ClusterFault::LeaderRestarted if on => self.stop_leader(false),
            ClusterFault::WatchExpired(_) | ClusterFault::LeaderKilled | ClusterFault::LeaderRestarted => {}
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
