//! Sidecars and agents: what of the actual state reaches the reaper.

use std::time::Duration;

use jobwarden_common::{
    beat::{Command, Phase},
    observation::{ContainerObservation, PodObservation, Report},
};

use crate::{
    state::{
        laws::Law,
        node::node_name,
        pod::{Container, HELPER_SLOT, Pod, Run},
    },
    world::{Event, World},
};

/// Milliseconds between two beats: 10 s ± 10 %.
const BEAT_MS: (u64, u64) = (9_000, 11_000);
/// Milliseconds until a beat is sent again that got no reply.
const RETRY_MS: (u64, u64) = (5_000, 15_000);
/// The interval of an agent's reports.
const REPORT_EVERY: Duration = Duration::from_secs(10);

impl World<'_> {
    /// A sidecar sends a beat, if it still runs.
    pub(crate) fn sidecar_beats(&mut self, pod: usize, life: u32, run: u32) {
        let actual = &self.pods[pod].actual;
        let runs = actual.containers.sidecar.is_some_and(|it| it.is_running() && it.run == run);
        if actual.life != life || !runs || actual.silenced {
            return;
        }
        let (low, high) = if self.deliver_beat(pod, Phase::Running) { BEAT_MS } else { RETRY_MS };
        let next = self.pods[pod].beat_dice.ms(low, high);
        self.after(next, Event::Beat { pod, life, run });
    }

    /// A sidecar sends its last beat: it was asked to end.
    pub(crate) fn last_beat(&mut self, pod: usize) {
        if !self.pods[pod].actual.silenced {
            self.deliver_beat(pod, Phase::Ending);
        }
    }

    /// Whether the beat is answered.
    fn deliver_beat(&mut self, pod: usize, phase: Phase) -> bool {
        let it = &self.pods[pod];
        let Some(node) = it.node else { return false };
        let path = &self.nodes[node];
        let blocked = path.down + path.cut_off + path.pod_network_broken + it.actual.blocked;
        let Some(leader) = self.signal_receiver().filter(|_| blocked + self.cluster.sidecars_silenced == 0) else {
            return false;
        };
        let uid = it.uid.clone();
        let reply = self.observe(leader, |index, now| index.beat(&uid, Some(&node_name(node)), phase, now));
        let moment = self.laws.signal_clock.at(self.now);
        match reply {
            Ok(command) => {
                self.pods[pod].received.beat(phase, self.now, moment);
                self.nodes[node].heard_at = self.now;
                self.pods[pod].actual.silenced |= command == Command::Stop;
                true
            }
            // The pod is not known yet, or not any more: the sidecar tries again.
            Err(_) => false,
        }
    }

    /// An agent sends a report.
    pub(crate) fn agent_reports(&mut self, node: usize) {
        self.after(REPORT_EVERY, Event::Observe(node));
        let it = &self.nodes[node];
        if it.down + it.agent_gone + self.cluster.agents_gone > 0 {
            return;
        }
        let (blind, cut_off) = (it.agent_blind > 0, it.cut_off > 0);
        let on_node = |pod: &usize| self.pods[*pod].node == Some(node) && self.pods[*pod].actual.known;
        let pods: Vec<_> = (0..self.pods.len()).filter(on_node).collect();
        let entries: Vec<_> =
            if blind { Vec::new() } else { pods.iter().filter_map(|pod| self.observation_of(*pod)).collect() };
        let Some(leader) = self.signal_receiver().filter(|_| !cut_off) else { return };
        let report = Report { seq: 0, blind: blind.then(|| "hidepid".to_owned()), pods: entries };
        let wanted = self.observe(leader, |index, now| index.report(&node_name(node), &report, now));
        let Ok(wanted) = wanted else {
            return self.break_law(Law::Simulator, format!("node-{node}: the report was refused"));
        };
        let (moment, now) = (self.laws.signal_clock.at(self.now), self.now);
        self.nodes[node].heard_at = now;
        let up_to_date = self.reapers[leader].watches_are_up() && self.cluster.reapers_reach_api();
        for pod in pods {
            let it = &mut self.pods[pod];
            it.actual.unwanted |= it.worker_has_ended() && !wanted.contains(&it.uid);
            // A status that the kubelet has written just now may not have arrived yet.
            let surely = up_to_date && now.saturating_sub(it.status_written_at) >= Duration::from_secs(1);
            let (alive, gone) = (it.worker_is_seen(), it.worker_is_seen_gone());
            it.received.report(!blind && alive, !blind && gone, surely, now, moment);
        }
    }

    /// What an agent observes of a pod.
    fn observation_of(&mut self, pod: usize) -> Option<PodObservation> {
        let now = self.now;
        let it = &mut self.pods[pod];
        if it.actual.unwanted {
            return None;
        }
        let alive: Vec<_> = it.runs().filter(|(_, _, alive)| *alive).map(|(slot, run, _)| (slot, run)).collect();
        for run in &alive {
            if !it.actual.seen.contains(run) {
                it.actual.seen.push(*run);
            }
        }
        let containers: Vec<_> = it
            .actual
            .seen
            .iter()
            .map(|&(slot, run)| ContainerObservation {
                container_id: it.container_id(slot, run),
                processes: u32::from(alive.contains(&(slot, run))),
                rss_bytes: 0,
                rss_sum_peak_bytes: 0,
                largest_hwm_bytes: 0,
                cpu_ms: if slot >= 3 && slot != HELPER_SLOT && alive.contains(&(slot, run)) {
                    it.cpu_ms(now)
                } else {
                    0
                },
                cgroup_peak_bytes: None,
            })
            .collect();
        (!containers.is_empty()).then(|| PodObservation { pod_uid: it.uid.clone(), containers })
    }
}

impl Pod {
    /// The agent has seen a run of a main container that is running, and the kubelet has reported this run.
    fn worker_is_seen(&self) -> bool {
        let mains = self.actual.containers.mains.iter().zip(&self.status.containers.mains);
        mains.enumerate().any(|(index, (main, reported))| {
            main.is_running() && main.run == reported.run && self.actual.seen.contains(&(3 + index, main.run))
        })
    }

    /// The agent has seen every main container before whose end the kubelet has not reported, none of them runs, and the kubelet has
    /// reported every container that still runs.
    fn worker_is_seen_gone(&self) -> bool {
        let Self { actual, status, .. } = self;
        let mains = actual.containers.mains.iter().zip(&status.containers.mains);
        let is_reported = |reported: Option<Container>, it: Option<Container>| {
            it.is_none_or(|it| !it.is_running() || reported.is_some_and(|reported| reported.run == it.run))
        };
        is_reported(status.containers.sidecar, actual.containers.sidecar)
            && is_reported(status.containers.helper, actual.containers.helper)
            && is_reported(status.containers.init, actual.containers.init)
            && mains.enumerate().all(|(index, (main, reported))| {
                !main.is_running()
                    && main.run > 0
                    && main.run == reported.run
                    && !reported.waits()
                    && (matches!(reported.state, Run::Ended { .. }) || actual.seen.contains(&(3 + index, main.run)))
            })
    }
}
