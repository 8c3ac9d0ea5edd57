//! The index of what was observed: facts go in, each with the moment of its receipt, and snapshots of Jobs come out.
//!
//! There is no I/O here, no clock and no Kubernetes client, so that a test or a simulator can drive the index through anything that
//! may happen to a cluster.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use jobwarden_common::identity::{JobUid, NodeName, PodUid};

use self::{
    enrolled::EnrolledNamespaces,
    followed::Followed,
    interner::Interner,
    recent_pods::RecentPods,
    records::{JobRecord, NodeRecord, PodRecord},
};
use crate::{
    evidence::{Active, AgentObservation, Finish, LastBeat},
    facts::job::{JobFacts, Progress},
    moment::Moment,
    policy::Policies,
};

mod agent_observation;
mod enrolled;
mod enrolment;
mod find;
mod followed;
mod foreign;
mod foreign_pods;
mod interner;
mod job_pods;
mod left_out;
mod nodes;
mod orphans;
mod pods;
mod recent_pods;
mod records;
mod signals;
mod snapshot;
mod stuck;
#[cfg(test)]
mod tests;
mod timeline;
mod usage;

pub use find::JobCursor;
pub use followed::JobLimits;
pub use foreign_pods::ForeignPods;
pub use signals::{BeatRejected, ForeignPod};

/// How long a standby remembers a Job that is gone. That is longer than it takes to notice that the leader is gone, which may have
/// left work on the Job undone; Jobs that went earlier were the leader's to finish.
const HANDOVER: Duration = Duration::from_mins(2);

/// How long a signal has to be missing for its return to be a change: the shortest time by which the decision table measures
/// missing signals, unless the policy of the Job has a shorter one.
const QUIET: Duration = Duration::from_secs(20);

/// Everything known of all Jobs, pods and nodes.
#[derive(Debug)]
pub struct Index {
    // Boxed: a hash table that has just grown is half empty.
    jobs: HashMap<JobUid, Box<JobRecord>>,
    pods: HashMap<PodUid, Box<PodRecord>>,
    nodes: HashMap<NodeName, NodeRecord>,
    /// The nodes have been listed: a node that is not known does not exist.
    nodes_listed: bool,
    /// The pods have been listed: a pod that is not known does not exist, or is not a worker.
    pods_listed: bool,
    abandoned: RecentPods,
    foreign: ForeignPods,
    enrolled: EnrolledNamespaces,
    followed: Followed,
    interner: Interner,
    changed: HashSet<JobUid>,
    /// Jobs whose objects went away while this reaper did not lead, the earliest first.
    departed: VecDeque<(Moment, JobUid)>,
    listening: bool,
    /// Since when this reaper leads.
    leading_since: Moment,
    /// Since when beats and reports can arrive, while this reaper leads; `None` if they cannot.
    receiving_since: Option<Moment>,
    /// What the clock last showed.
    latest: Moment,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            jobs: HashMap::new(),
            pods: HashMap::new(),
            nodes: HashMap::new(),
            nodes_listed: false,
            pods_listed: false,
            abandoned: RecentPods::default(),
            foreign: ForeignPods::default(),
            enrolled: EnrolledNamespaces::default(),
            followed: Followed::default(),
            interner: Interner::default(),
            changed: HashSet::new(),
            departed: VecDeque::new(),
            listening: false,
            leading_since: Moment::default(),
            receiving_since: Some(Moment::default()),
            latest: Moment::default(),
        }
    }
}

impl Index {
    /// This reaper leads from `now` on. Beats and agent reports of an earlier term are forgotten: later ones went to another leader.
    pub fn start_listening(&mut self, now: Moment) {
        self.drop_departed(now);
        self.departed.clear();
        for pod in self.pods.values_mut() {
            (pod.beat, pod.agent, pod.seen_alive, pod.cpu) = (LastBeat::None, AgentObservation::None, None, None);
        }
        self.nodes.values_mut().for_each(|node| node.heard = None);
        (self.listening, self.leading_since) = (true, now);
        self.receiving_since = self.receiving_since.map(|_| now);
        self.all_changed();
    }

    /// Whether beats and reports can arrive, by [`SignalTracker::is_receiving`](crate::health::SignalTracker::is_receiving). While they
    /// cannot, none is missing; afterwards the time of every missing one starts again. So the deadlines that rest on silence are
    /// extended, and those that rest on objects are not.
    pub fn set_receiving(&mut self, receiving: bool, now: Moment) {
        self.receiving_since = receiving.then(|| self.receiving_since.unwrap_or(now));
        // The clock was set back, because a watch has been down for longer than was known. What was heard meanwhile must not make a node
        // look alive for longer: the breaker has to count it in time.
        if now < self.latest {
            self.nodes.values_mut().for_each(|node| node.heard = node.heard.min(Some(now)));
        }
        self.latest = now;
    }

    /// This reaper no longer leads.
    pub fn stop_listening(&mut self, now: Moment) {
        self.listening = false;
        let gone = self.jobs.iter().filter(|(_, job)| job.gone);
        self.departed = gone.map(|(uid, _)| (now, uid.clone())).collect();
    }

    /// Whether this reaper leads.
    pub fn is_listening(&self) -> bool {
        self.listening
    }

    /// How many Jobs are known.
    pub fn jobs(&self) -> usize {
        self.jobs.values().filter(|job| job.facts.is_some()).count()
    }

    /// How many pods are known.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    /// How many nodes are known.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the Job was seen and is not forgotten.
    pub fn knows(&self, job: &JobUid) -> bool {
        self.jobs.get(job).is_some_and(|job| job.facts.is_some())
    }

    /// Whether the pod is in the API.
    pub fn knows_pod(&self, pod: &PodUid) -> bool {
        self.pods.contains_key(pod)
    }

    /// Whether the Job was seen and its object is no longer there.
    pub fn is_gone(&self, job: &JobUid) -> bool {
        self.jobs.get(job).is_some_and(|job| job.gone)
    }

    /// The Jobs whose evidence may have changed since this was last asked.
    pub fn take_changed(&mut self) -> Vec<JobUid> {
        self.changed.drain().collect()
    }

    /// Whether there are such Jobs.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Every Job has to be evaluated again.
    pub fn all_changed(&mut self) {
        let known = self.jobs.iter().filter(|(_, job)| job.facts.is_some());
        self.changed.extend(known.map(|(uid, _)| uid.clone()));
    }

    /// A Job was created or changed. Returns whether it is followed: beyond the limit of its namespace, nothing is kept of it.
    pub fn apply_job(&mut self, mut facts: JobFacts, now: Moment) -> bool {
        if !self.knows(&facts.identity.uid) && !self.follow(&facts.identity.namespace) {
            return false;
        }
        share(&self.jobs, &mut facts.identity.uid);
        facts.identity.bound();
        facts.effective = self.interner.share(facts.effective);
        let uid = facts.identity.uid.clone();
        let job = self.jobs.entry(uid.clone()).or_default();
        if job.facts.as_ref() == Some(&facts) && !job.gone {
            return true;
        }
        let was_known = job.facts.is_some();
        // The timeline of a bare pod has the events of the pod.
        if !facts.identity.is_bare() {
            note_job(job, &facts, now);
        }
        if job.facts.as_ref().and_then(|before| before.started) != facts.started {
            job.active = facts.started.map(|start| Active { start: start.at, since: now, before: start.ago });
        }
        // An attempt may have come and gone while a watch was down: the Job controller backs off from its end.
        if job.facts.as_ref().is_some_and(|before| before.back_off != facts.back_off) {
            job.podless_since = None;
        }
        if matches!(facts.progress, Progress::Finished(_)) {
            job.finished_since.get_or_insert(now);
        }
        // Whatever is written to the object later, outcomes name the Job as it was when it was first seen.
        if let Some(before) = &job.facts {
            facts.identity.clone_from(&before.identity);
        }
        job.facts = Some(facts);
        job.gone = false;
        if !was_known {
            self.admit_waiting(&uid, now);
        }
        self.update_enrolment(&uid, now);
        self.update_podless(&uid, now);
        self.mark(&uid);
        true
    }

    /// The layers of policies have changed: the policy of every Job is computed again.
    pub fn apply_policies(&mut self, policies: &Policies) {
        for (uid, job) in &mut self.jobs {
            let Some(facts) = &mut job.facts else { continue };
            let effective = policies.effective(&facts.identity.namespace, &facts.labels, &facts.own);
            if *facts.effective != effective {
                facts.effective = self.interner.share(Arc::new(effective));
                self.changed.insert(uid.clone());
            }
        }
    }

    /// The object of a Job is gone. The Job stays known until [`forget_job`](Self::forget_job).
    pub fn delete_job(&mut self, uid: &JobUid, now: Moment) {
        let Some(job) = self.jobs.get_mut(uid).filter(|job| job.facts.is_some() && !job.gone) else { return };
        job.gone = true;
        if !job.is_bare() {
            job.timeline.add(now, "the Job object is gone");
        }
        self.mark(uid);
        if !self.listening {
            self.departed.push_back((now, uid.clone()));
            self.drop_departed(now);
        }
    }

    /// A list of Jobs is complete: Jobs that are not in it are gone.
    pub fn jobs_listed(&mut self, listed: &HashSet<JobUid>, now: Moment) {
        let gone = self.jobs.iter().filter(|(uid, job)| !job.is_bare() && !listed.contains(*uid));
        let gone: Vec<_> = gone.map(|(uid, _)| uid.clone()).collect();
        for uid in gone {
            self.delete_job(&uid, now);
        }
    }

    /// Everything that a Job which is gone needed has been done.
    pub fn forget_job(&mut self, uid: &JobUid) {
        self.changed.remove(uid);
        self.unfollow(uid);
        let Some(job) = self.jobs.get_mut(uid) else { return };
        // Pods of the Job may still be terminating; they leave when their objects do.
        **job = JobRecord { pods: std::mem::take(&mut job.pods), ..JobRecord::default() };
        self.drop_job_if_idle(uid);
    }

    /// From now on, beats of this pod are answered with `stop`.
    pub fn abandon(&mut self, pod: &PodUid) {
        self.abandoned.add(pod);
    }

    /// Forgets Jobs that have been gone for so long that the leader before must have finished them.
    fn drop_departed(&mut self, now: Moment) {
        while let Some((_, uid)) = self.departed.pop_front_if(|(at, _)| now.since(*at) > HANDOVER) {
            if self.is_gone(&uid) {
                self.forget_job(&uid);
            }
        }
    }

    fn drop_job_if_idle(&mut self, uid: &JobUid) {
        if self.jobs.get(uid).is_some_and(|job| job.facts.is_none() && job.pods.is_empty()) {
            self.jobs.remove(uid);
        }
    }

    /// The evidence of a Job may have changed.
    fn mark(&mut self, uid: &JobUid) {
        if self.knows(uid) {
            self.changed.insert(uid.clone());
        }
    }

    /// Records since when the Job lacks the pods it should have.
    fn update_podless(&mut self, uid: &JobUid, now: Moment) {
        let Some(job) = self.jobs.get_mut(uid) else { return };
        let lacks = job.facts.as_ref().is_some_and(JobFacts::should_have_pods) && !job.pods.has_live();
        job.podless_since = lacks.then(|| job.podless_since.unwrap_or(now));
    }

    /// Adds to the timeline of a Job.
    fn note(&mut self, job: Option<&JobUid>, now: Moment, what: String) {
        if let Some(job) = job.and_then(|uid| self.jobs.get_mut(uid)) {
            job.timeline.add(now, what);
        }
    }

    /// How long a signal of this Job has to be missing for its return to be a change.
    fn quiet(&self, job: Option<&JobUid>) -> Duration {
        let policy = job.and_then(|uid| self.jobs.get(uid)?.facts.as_ref()).map(|facts| &facts.effective.policy);
        policy.map_or(QUIET, |policy| QUIET.min(policy.quiet()))
    }
}

/// Shares the text of an identity that is known already.
fn share<K: Clone + Eq + Hash, V>(known: &HashMap<K, V>, key: &mut K) {
    if let Some((kept, _)) = known.get_key_value(key) {
        key.clone_from(kept);
    }
}

/// Adds to the timeline what is new in `facts`.
fn note_job(job: &mut JobRecord, facts: &JobFacts, now: Moment) {
    let Some(before) = &job.facts else {
        job.timeline.add(now, "the Job was first seen");
        return;
    };
    if before.suspended != facts.suspended {
        job.timeline.add(now, if facts.suspended { "the Job is suspended" } else { "the Job is resumed" });
    }
    if before.deletion.is_none() && facts.deletion.is_some() {
        job.timeline.add(now, "the Job is being deleted");
    }
    if before.progress != facts.progress {
        let what = match &facts.progress {
            Progress::Finished(Finish::Complete) => "the Job is Complete".to_owned(),
            Progress::Finished(Finish::Failed { reason, .. }) => format!("the Job is Failed: {reason}"),
            Progress::Failing { reason, .. } => format!("the Job is being failed (FailureTarget): {reason}"),
            Progress::Succeeding => "the Job is being completed (SuccessCriteriaMet)".to_owned(),
            Progress::Open => "the Job is open again".to_owned(),
        };
        job.timeline.add(now, what);
    }
}
