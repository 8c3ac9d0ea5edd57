//! Objects as the watches deliver them, one on a line, a deleted one after a `-`: a pod counts for a Job only if it is of the Job's namespace
//! and names the Job as its controller, and what follows for a Job is about that Job.

#![no_main]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use jobwarden_common::identity::{JobUid, PodUid};
use jobwarden_core::{
    facts::{
        job::JobFacts,
        node::{LeaseFacts, NodeFacts},
        pod::PodFacts,
    },
    health::SignalHealth,
    index::Index,
    moment::Moment,
    plan::step::Step,
    policy::{Changes, Policies},
    reconcile::{Mode, Reconciler, StepReport},
    snapshot::JobSnapshot,
};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        coordination::v1::Lease,
        core::v1::{Namespace, Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, de::DeserializeOwned};

/// The most objects that are read of one input.
const MAX_LINES: usize = 32;
/// The largest outcome: etcd holds 1.5 MiB, and the statuses of the sinks are added.
const MAX_OUTCOME: usize = 1024 * 1024;
/// The longest ID of the orchestrator.
const MAX_ID: usize = 1024;

#[derive(Deserialize)]
struct Kind<'a> {
    kind: &'a str,
}

/// An index, and the objects it was given.
struct World {
    index: Index,
    policies: Policies,
    now: Moment,
    jobs: BTreeMap<String, Named>,
    pods: BTreeMap<String, Named>,
}

/// What identifies an object besides its UID, and its controllers at any time.
#[derive(Default)]
struct Named {
    namespace: String,
    name: Option<String>,
    controllers: BTreeSet<String>,
}

fuzz_target!(|data: &[u8]| {
    let mut world = World {
        index: Index::default(),
        policies: Policies::default(),
        now: at(1),
        jobs: BTreeMap::new(),
        pods: BTreeMap::new(),
    };
    world.index.start_listening(world.now);
    for (second, line) in (2..).zip(data.split(|byte| *byte == b'\n').take(MAX_LINES)) {
        world.now = at(second);
        let (deleted, object) = line.strip_prefix(b"-").map_or((false, line), |object| (true, object));
        world.receive(object, deleted);
    }
    let mut reconciler = Reconciler::new(Mode::Enforce);
    for second in [40, 4000] {
        world.now = at(second);
        world.reconcile(&mut reconciler);
    }
});

fn at(second: u64) -> Moment {
    Moment::at(Duration::from_secs(second))
}

/// The API server's time.
fn server_time() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap_or_default()
}

fn parse<T: DeserializeOwned>(object: &[u8]) -> Option<T> {
    serde_json::from_slice(object).ok()
}

/// Whether it can be an object of that UID. The API server gives each UID once.
fn is_possible(known: &mut BTreeMap<String, Named>, metadata: &ObjectMeta) -> bool {
    let Some(uid) = metadata.uid.clone() else { return true };
    let (namespace, name) = (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone());
    let known = known.entry(uid).or_insert_with(|| Named {
        namespace: namespace.clone(),
        name: name.clone(),
        ..Named::default()
    });
    let owners = metadata.owner_references.iter().flatten().filter(|owner| owner.controller == Some(true));
    known.controllers.extend(owners.map(|owner| owner.uid.clone()));
    (&known.namespace, &known.name) == (&namespace, &name)
}

impl World {
    fn receive(&mut self, object: &[u8], deleted: bool) -> Option<()> {
        let Self { index, policies, now, jobs, pods } = self;
        match serde_json::from_slice::<Kind<'_>>(object).ok()?.kind {
            "Job" => {
                let job: Job = parse(object)?;
                let possible = is_possible(jobs, &job.metadata)
                    && !job.metadata.uid.as_ref().is_some_and(|uid| pods.contains_key(uid));
                let (facts, bad) = JobFacts::read(&job, policies, server_time()).filter(|_| possible)?;
                assert_eq!(JobFacts::read(&job, policies, server_time()), Some((facts.clone(), bad)), "read twice");
                let uid = facts.identity.uid.clone();
                index.apply_job(facts, *now);
                if deleted {
                    index.delete_job(&uid, *now);
                }
            }
            "Pod" => {
                let pod: Pod = parse(object)?;
                let possible = is_possible(pods, &pod.metadata)
                    && !pod.metadata.uid.as_ref().is_some_and(|uid| jobs.contains_key(uid));
                let facts = PodFacts::read(&pod).filter(|_| possible)?;
                assert_eq!(PodFacts::read(&pod).as_ref(), Some(&facts), "read twice");
                let uid = facts.uid.clone();
                if let Some((bare, _)) = JobFacts::of_bare_pod(&pod, policies, server_time()) {
                    index.apply_job(bare, *now);
                }
                index.apply_pod(facts, *now);
                if deleted {
                    index.delete_pod(&uid, *now);
                }
            }
            "Node" => {
                let facts = NodeFacts::read(&parse::<Node>(object)?)?;
                index.apply_node(&facts, *now);
                if deleted {
                    index.delete_node(&facts.name, *now);
                }
            }
            "Lease" => {
                let facts = LeaseFacts::read(&parse::<Lease>(object)?)?;
                index.apply_lease(&facts, *now);
                if deleted {
                    index.delete_lease(&facts.node);
                }
            }
            "Namespace" => {
                let ObjectMeta { name, annotations, .. } = parse::<Namespace>(object)?.metadata;
                let (name, (changes, bad)) = (name?, Changes::by_annotations(&annotations.unwrap_or_default()));
                index.set_enrolled(&name, !deleted, *now);
                if policies.set_namespace(&name, changes, &bad) {
                    index.apply_policies(policies);
                }
            }
            _ => {}
        }
        Some(())
    }

    fn reconcile(&mut self, reconciler: &mut Reconciler) {
        let (now, instant) = (self.now, Instant::now());
        let mut changed = self.index.take_changed();
        changed.sort_unstable();
        changed.into_iter().for_each(|job| reconciler.enqueue(job, instant));
        let outcomes = BTreeMap::new();
        for job in reconciler.promote_due(instant) {
            let known = self.index.evidence(&job);
            reconciler.preview(&job, known.as_ref().map(|(evidence, policy)| (evidence, policy)), &outcomes, now);
        }
        reconciler.survey(self.index.worker_nodes(), now, instant);
        for job in reconciler.due(usize::MAX) {
            let Some(mut snapshot) = self.index.snapshot(&job, now, |_| server_time()) else {
                reconciler.vanished(&job, instant);
                continue;
            };
            self.check_members(&job, &snapshot);
            let evaluation = reconciler.evaluate(&mut snapshot, SignalHealth::Receiving, now);
            evaluation.steps.iter().for_each(|step| check_step(step, &snapshot));
            reconciler.done(&job, StepReport::default(), evaluation.requeue, instant, 0.5);
        }
    }

    fn check_members(&self, job: &JobUid, snapshot: &JobSnapshot) {
        let identity = &snapshot.evidence.job.identity;
        let ids = [identity.run_id.as_ref().map(|id| id.as_str()), identity.job_id.as_ref().map(|id| id.as_str())];
        assert!(ids.into_iter().flatten().all(|id| id.len() <= MAX_ID), "an ID is too long");
        for pod in &snapshot.evidence.pods {
            let of: &Named = self.pods.get(pod.uid.as_str()).expect("a pod that was received");
            assert_eq!(of.namespace, identity.namespace, "pod {} of another namespace", pod.uid);
            let is_own = of.controllers.contains(job.as_str()) || pod.uid == PodUid::from(job.as_str());
            assert!(is_own, "pod {} does not name Job {job}", pod.uid);
        }
    }
}

fn check_step(step: &Step, snapshot: &JobSnapshot) {
    let evidence = &snapshot.evidence;
    let past = snapshot.past.as_ref().map(|past| &past.attempt.pod_uid);
    if let Some(about) = step.pod() {
        assert!(
            past == Some(about) || evidence.pods.iter().any(|pod| pod.uid == *about),
            "about another's pod: {step:?}"
        );
    }
    if let Step::Record(draft) = step {
        let identity = &evidence.job.identity;
        let data = &draft.data;
        assert_eq!((&data.namespace, &data.job_uid), (&identity.namespace, &identity.uid), "about another Job");
        let bytes = serde_json::to_vec(data).expect("an outcome is plain").len();
        assert!(bytes <= MAX_OUTCOME, "an outcome of {bytes} bytes");
    }
}
