//! Pods.

use std::collections::{HashMap, HashSet};

use jobwarden_common::identity::{JobUid, PodUid};

use super::{Index, share};
use crate::{
    evidence::{AgentObservation, ContainerState, NodeState, PodPhase},
    facts::pod::{PodFacts, SidecarFacts},
    index::{
        foreign::Standing,
        records::{NodeRecord, PodRecord, RareMoments},
        stuck::exited,
    },
    moment::Moment,
};

impl Index {
    /// A pod was created or changed.
    pub fn apply_pod(&mut self, mut facts: PodFacts, now: Moment) {
        share(&self.pods, &mut facts.uid);
        let before = self.pods.get(&facts.uid).and_then(|pod| pod.facts.job.clone());
        match self.standing(&facts) {
            Standing::Waits => {
                let namespace = facts.claim.as_ref().map(|claim| claim.namespace().to_owned());
                if let Some(namespace) = namespace.filter(|namespace| self.leaves_out(&facts.uid, namespace)) {
                    return self.left_out(&namespace);
                }
            }
            Standing::Member => facts.claim = None,
            Standing::Foreign => match self.pods.get(&facts.uid) {
                // It remains what it was.
                Some(known) if known.facts.claim.is_none() => (facts.job, facts.claim) = (None, None),
                Some(_) => return self.drop_foreign(&facts.uid, now),
                None => return,
            },
        }
        // A pod that its Job has released, and no other has adopted, remains the only trace of what the Job did.
        if facts.job.is_none() {
            facts.job.clone_from(&before);
            facts.claim = self.pods.get(&facts.uid).and_then(|known| known.facts.claim.clone());
        }
        facts.job.iter_mut().for_each(|job| share(&self.jobs, job));
        facts.node.iter_mut().for_each(|node| share(&self.nodes, node));
        let (uid, job) = (facts.uid.clone(), facts.job.clone());
        let known = self.pods.get(&uid);
        if known.is_some_and(|pod| pod.facts == facts) {
            return;
        }
        let events = pod_events(known.map(|pod| &pod.facts), &facts);
        // An attempt that has ended before it was first seen: the Job controller backs off from its end.
        if known.is_none()
            && let Some(job) = job.as_ref().and_then(|job| self.jobs.get_mut(job))
        {
            job.podless_since = None;
        }
        let (was_live, mut place) = known.map_or((false, 0), |pod| (pod.is_live(), pod.place));
        let is_live = facts.is_live();
        if before == job {
            if let Some(job) = job.as_ref().and_then(|job| self.jobs.get_mut(job)) {
                job.pods.note_live(was_live, is_live);
            }
        } else if let Some(job) = &job {
            // A pod that its Job has released may belong to another Job, or be a bare pod.
            if let Some(before) = &before {
                if let Some(job) = self.jobs.get_mut(before) {
                    job.pods.remove(place, was_live, |pod, place| set_place(&mut self.pods, pod, place));
                }
                self.pod_changed(Some(before), now);
                self.drop_job_if_idle(before);
            }
            place = self.jobs.entry(job.clone()).or_default().pods.add(uid.clone(), is_live);
        }
        if let Some(node) = &facts.node {
            // Once the nodes are listed, a node that is not among them does not exist.
            let unknown = self.nodes_listed.then_some(NodeState::Deleted { since: now });
            let node = self.nodes.entry(node.clone()).or_insert_with(|| NodeRecord::new(unknown, now));
            node.pods.insert(uid.clone());
        }
        let pod = self.pods.entry(uid).or_insert_with(|| Box::new(PodRecord::new(facts.clone())));
        pod.take(facts, now);
        pod.place = place;
        for what in events {
            self.note(job.as_ref(), now, what);
        }
        self.pod_changed(job.as_ref(), now);
    }

    /// The object of a pod is gone. Its Job keeps what it used; a bare pod is a Job that is gone with it.
    pub fn delete_pod(&mut self, uid: &PodUid, now: Moment) {
        let Some(pod) = self.remove_pod(uid) else { return };
        let Some(job_uid) = &pod.facts.job else { return };
        if let Some(job) = self.jobs.get_mut(job_uid) {
            job.past = Some(Box::new(pod.past()));
            if let Some(usage) = pod.usage(job.finished_since.unwrap_or(now)) {
                job.add_past_usage(usage);
            }
        }
        self.note(Some(job_uid), now, format!("pod {}: the object is gone", pod.facts.name));
        self.pod_changed(Some(job_uid), now);
        if self.jobs.get(job_uid).is_some_and(|job| job.is_bare()) {
            self.delete_job(job_uid, now);
        }
        self.drop_job_if_idle(job_uid);
    }

    /// A list of pods is complete: pods that are not in it are gone.
    pub fn pods_listed(&mut self, listed: &HashSet<PodUid>, now: Moment) {
        self.pods_listed = true;
        let gone: Vec<_> = self.pods.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        for uid in gone {
            self.delete_pod(&uid, now);
        }
    }

    /// Removes a pod from the index, from its node and from its Job.
    pub(super) fn remove_pod(&mut self, uid: &PodUid) -> Option<Box<PodRecord>> {
        let pod = self.pods.remove(uid)?;
        if let Some(name) = &pod.facts.node
            && let Some(node) = self.nodes.get_mut(name)
        {
            node.pods.remove(uid);
            if node.is_idle() {
                self.nodes.remove(name);
            }
        }
        if let Some(job) = pod.facts.job.as_ref().and_then(|job| self.jobs.get_mut(job)) {
            job.pods.remove(pod.place, pod.is_live(), |pod, place| set_place(&mut self.pods, pod, place));
        }
        Some(pod)
    }

    pub(super) fn pod_changed(&mut self, job: Option<&JobUid>, now: Moment) {
        if let Some(job) = job {
            self.update_podless(job, now);
            self.mark(job);
        }
    }
}

impl PodRecord {
    fn take(&mut self, mut facts: PodFacts, now: Moment) {
        if self.ended_since.is_some() && self.facts.grace.is_some() {
            facts = self.with_known_end(facts);
        }
        let since = |holds: bool, before: Option<Moment>| holds.then(|| before.unwrap_or(now));
        let has_run = facts.mains.iter().any(|main| main.state != ContainerState::NotStarted);
        self.bound_since = since(facts.node.is_some(), self.bound_since);
        let live = facts.is_live();
        let same_init = facts.initializing == self.facts.initializing;
        let rare = self.rare();
        self.set_rare(RareMoments {
            unscheduled_since: since(live && facts.node.is_none(), rare.unscheduled_since),
            terminating_since: since(facts.grace.is_some(), rare.terminating_since),
            initializing_since: since(facts.initializing.is_some(), rare.initializing_since.filter(|_| same_init)),
            exited_since: since(live && exited(&facts).is_some(), rare.exited_since),
            rebooted: rare.rebooted.filter(|_| live && facts.mains == self.facts.mains),
        });
        self.start.update(facts.start, now);
        match &facts.start_problem {
            Some(problem) => self.start_problem = Some(problem.clone()),
            None if facts.mains.iter().any(|main| main.state == ContainerState::Running) => self.start_problem = None,
            None => {}
        }
        self.sidecar_since = since(facts.sidecar == SidecarFacts::Started, self.sidecar_since);
        self.ran_since = since(has_run, self.ran_since);
        self.ended_since = since(!live, self.ended_since);
        // What was seen before the deletion needs no comparison of clocks, and stays true.
        self.work_done |= facts.work_done;
        // `Gone` is about the runs that the agent observed: a new run, or the wait for one, invalidates it.
        if let AgentObservation::Gone { since, .. } = self.agent
            && facts.mains.iter().any(|main| !self.has_main_run(&main.name, main.id.as_deref(), main.state))
        {
            self.agent = AgentObservation::Blind { last: since };
        }
        self.facts = facts;
    }

    /// The facts, with the end that is known of a pod that ended while it was being deleted. From then on its object no longer tells
    /// when the deletion was requested: the kubelet ends the grace period, and while a finalizer holds the pod, that moves the
    /// `deletionTimestamp` to the present (`markAsDeleting` in `pkg/registry/generic/registry/store.go` of the API server).
    fn with_known_end(&self, facts: PodFacts) -> PodFacts {
        PodFacts { cause: self.facts.cause.clone(), work_done: self.work_done, ..facts }
    }

    /// Whether this run of a main container is known, and no other run follows it.
    fn has_main_run(&self, name: &str, id: Option<&str>, state: ContainerState) -> bool {
        let run_on = matches!(state, ContainerState::Running | ContainerState::Terminated);
        run_on && self.facts.mains.iter().any(|main| *main.name == *name && main.id.as_deref() == id)
    }
}

/// What is new in the facts of a pod, for the timeline.
fn pod_events(before: Option<&PodFacts>, after: &PodFacts) -> Vec<String> {
    let name = &after.name;
    let mut events = Vec::new();
    if let Some(node) = &after.node
        && before.is_none_or(|before| before.node.is_none())
    {
        events.push(format!("pod {name}: bound to node {node}"));
    }
    if after.grace.is_some() && before.is_none_or(|before| before.grace.is_none()) {
        events.push(format!("pod {name}: is being deleted"));
    }
    for main in &after.mains {
        let was = before.and_then(|before| before.mains.iter().find(|known| known.name == main.name));
        if was.map_or(ContainerState::NotStarted, |was| was.state) == main.state {
            continue;
        }
        match main.state {
            ContainerState::NotStarted => {}
            ContainerState::Running => events.push(format!("pod {name}: container {} started", main.name)),
            ContainerState::WaitingToRestart => {
                events.push(format!("pod {name}: container {} ended and waits to be restarted", main.name));
            }
            ContainerState::Terminated => events.push(format!("pod {name}: container {} ended", main.name)),
        }
    }
    if before.is_none_or(|before| before.phase != after.phase) {
        match after.phase {
            PodPhase::Succeeded => events.push(format!("pod {name}: Succeeded")),
            PodPhase::Failed => {
                let reason = after
                    .cause
                    .as_ref()
                    .and_then(|cause| cause.reason.as_ref())
                    .map(|reason| format!(" ({reason})"))
                    .unwrap_or_default();
                events.push(format!("pod {name}: Failed{reason}"));
            }
            PodPhase::Pending | PodPhase::Running => {}
        }
    }
    events
}

/// A pod has another place among those of its Job.
fn set_place(pods: &mut HashMap<PodUid, Box<PodRecord>>, pod: &PodUid, place: usize) {
    if let Some(pod) = pods.get_mut(pod) {
        pod.place = place;
    }
}
