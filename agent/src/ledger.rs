//! The figures of every pod of the node, from sample to sample.
//!
//! A report resets nothing: the figures are totals and peaks since the first sample of a container, so a lost report loses
//! nothing. This module also decides when to forget ended pods, because a node runs many pods over months.

use std::collections::{BTreeMap, HashMap, HashSet};

use jobwarden_common::{
    identity::PodUid,
    observation::{ContainerObservation, PodObservation},
};

use crate::{
    cgroup::ContainerId,
    sampler::{ProcessKey, ProcessSample},
};

/// An ended pod is forgotten after this many consecutive replies that do not list it: about a minute, because a new leader may
/// not know all pods yet.
const UNLISTED_REPLIES: u8 = 6;

/// Maximum number of ended pods; the pods that ended first are forgotten first. Only reached while no reaper responds.
const MAX_ENDED_PODS: usize = 1024;

/// Maximum number of ended containers per pod: a pod whose container keeps restarting must not use ever more memory.
const MAX_ENDED_CONTAINERS: usize = 64;

/// The figures of every pod of the node.
#[derive(Debug, Default)]
pub struct Ledger {
    pods: BTreeMap<PodUid, Pod>,
    /// The worker pods of this node, as of the last reply.
    listed: HashSet<PodUid>,
    /// Counts samples.
    now: u64,
}

#[derive(Debug, Default)]
struct Pod {
    containers: BTreeMap<ContainerId, Figures>,
    /// The last sample with a running process.
    alive_at: u64,
    /// Consecutive replies since the end of the pod that did not list it.
    unlisted: u8,
}

#[derive(Debug, Default)]
struct Figures {
    processes: u32,
    rss_bytes: u64,
    rss_sum_peak_bytes: u64,
    largest_hwm_bytes: u64,
    cpu_ms: u64,
    /// CPU time of each process at the last sample, for the difference to the next.
    cpu_ms_of: HashMap<ProcessKey, CpuTime>,
    /// The last sample with a running process.
    alive_at: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct CpuTime {
    ms: u64,
    seen: u64,
}

impl Ledger {
    /// Records one sample, with every process of every pod.
    pub fn record(&mut self, processes: &[ProcessSample]) {
        self.now += 1;
        let now = self.now;
        for figures in self.pods.values_mut().flat_map(|pod| pod.containers.values_mut()) {
            (figures.processes, figures.rss_bytes) = (0, 0);
        }
        for process in processes {
            let pod = get_or_insert(&mut self.pods, &process.container.pod);
            get_or_insert(&mut pod.containers, &process.container.id).add(process, now);
        }
        for pod in self.pods.values_mut() {
            pod.close_sample(now);
        }
        forget_oldest(&mut self.pods, MAX_ENDED_PODS, |pod| (pod.alive_at < now).then_some(pod.alive_at));
    }

    /// The figures to report: those of the pods that the last reply listed.
    pub fn observations(&self) -> Vec<PodObservation> {
        let listed = self.pods.iter().filter(|(uid, _)| self.listed.contains(*uid));
        listed.map(|(uid, pod)| PodObservation { pod_uid: uid.clone(), containers: pod.observations() }).collect()
    }

    /// Records the worker pods that the reaper listed in reply to a report, and forgets ended pods that it no longer lists.
    pub fn acknowledged(&mut self, listed: impl IntoIterator<Item = PodUid>) {
        self.listed = listed.into_iter().collect();
        let (listed, now) = (&self.listed, self.now);
        self.pods.retain(|uid, pod| {
            let of_interest = pod.alive_at == now || listed.contains(uid);
            pod.unlisted = if of_interest { 0 } else { pod.unlisted + 1 };
            pod.unlisted < UNLISTED_REPLIES
        });
    }

    /// Number of pods in memory.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }
}

impl Pod {
    fn close_sample(&mut self, now: u64) {
        for figures in self.containers.values_mut() {
            figures.rss_sum_peak_bytes = figures.rss_sum_peak_bytes.max(figures.rss_bytes);
            figures.cpu_ms_of.retain(|_, cpu| cpu.seen == now);
            self.alive_at = self.alive_at.max(figures.alive_at);
        }
        let ended = |figures: &Figures| (figures.alive_at < now).then_some(figures.alive_at);
        forget_oldest(&mut self.containers, MAX_ENDED_CONTAINERS, ended);
    }

    fn observations(&self) -> Vec<ContainerObservation> {
        let observation = |(id, figures): (&ContainerId, &Figures)| ContainerObservation {
            container_id: id.to_string(),
            processes: figures.processes,
            rss_bytes: figures.rss_bytes,
            rss_sum_peak_bytes: figures.rss_sum_peak_bytes,
            largest_hwm_bytes: figures.largest_hwm_bytes,
            cpu_ms: figures.cpu_ms,
            cgroup_peak_bytes: None,
        };
        self.containers.iter().map(observation).collect()
    }
}

impl Figures {
    fn add(&mut self, process: &ProcessSample, now: u64) {
        let ProcessSample { container: _, process: key, alive, cpu_ms, rss_bytes, hwm_bytes } = process;
        if *alive {
            self.processes += 1;
            self.alive_at = now;
            self.rss_bytes = self.rss_bytes.saturating_add(*rss_bytes);
        }
        self.largest_hwm_bytes = self.largest_hwm_bytes.max(*hwm_bytes);
        let before = self.cpu_ms_of.entry(*key).or_default();
        self.cpu_ms = self.cpu_ms.saturating_add(cpu_ms.saturating_sub(before.ms));
        *before = CpuTime { ms: before.ms.max(*cpu_ms), seen: now };
    }
}

/// Clones the key only if it is new.
fn get_or_insert<'a, K: Ord + Clone, V: Default>(map: &'a mut BTreeMap<K, V>, key: &K) -> &'a mut V {
    if !map.contains_key(key) {
        map.insert(key.clone(), V::default());
    }
    map.get_mut(key).expect("inserted above if it was missing")
}

/// Keeps at most `most` of the ended entries, the latest ones; `ended` returns when an entry ended.
fn forget_oldest<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, most: usize, ended: impl Fn(&V) -> Option<u64>) {
    if map.len() <= most {
        return;
    }
    let mut all: Vec<(u64, K)> = map.iter().filter_map(|(key, value)| Some((ended(value)?, key.clone()))).collect();
    all.sort_unstable();
    let too_many = all.len().saturating_sub(most);
    for (_, key) in all.drain(..too_many) {
        map.remove(&key);
    }
}

#[cfg(test)]
mod tests;
