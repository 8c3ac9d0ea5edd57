//! One reconcile of a Job with 10,000 pods, compared with a reconcile of each of 10,000 Jobs with one pod: what it costs for each pod may
//! not depend on how many there are beside it.

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion};
use jobwarden_core::{
    builders::facts::{mk_job, mk_node, mk_pod},
    evidence::{PodPhase, Retries},
    facts::{job::JobFacts, node::Health, pod::PodFacts},
    health::SignalHealth,
    index::Index,
    moment::Moment,
    reconcile::{Mode, Reconciler, StepReport},
};

const PODS: usize = 10_000;
const PODS_ON_A_NODE: usize = 100;
const STARTED: Moment = Moment::at(Duration::from_secs(1));
/// Seconds after the start: every pod is alive, or silent together with its node.
const ALIVE: u64 = 5;
const SILENT: u64 = 600;

pub(crate) fn reconciling(criterion: &mut Criterion) {
    for (name, jobs) in [("1_job", 1), ("10k_jobs", PODS)] {
        let started = index(jobs);
        for (state, second) in [("alive", ALIVE), ("lost", SILENT)] {
            criterion.bench_function(&format!("reconcile_{state}_{name}"), |bencher| {
                let mut reconciler = Reconciler::new(Mode::Enforce);
                bencher.iter(|| reconcile(&started, &mut reconciler, jobs, second));
            });
        }
        criterion.bench_function(&format!("pods_come_and_go_{name}"), |bencher| {
            bencher.iter_batched(|| index(jobs), come_and_go, BatchSize::LargeInput);
        });
    }
}

fn job_name(number: usize) -> String {
    format!("job-{number}")
}

fn pod(number: usize, jobs: usize) -> PodFacts {
    let node = format!("node-{}", number / PODS_ON_A_NODE);
    PodFacts { node: Some(node.as_str().into()), ..mk_pod(&format!("pod-{number}"), &job_name(number % jobs)) }
}

/// An index of [`PODS`] pods in this many Jobs.
fn index(jobs: usize) -> Index {
    let mut index = Index::default();
    for node in 0..PODS / PODS_ON_A_NODE {
        index.apply_node(&mk_node(&format!("node-{node}"), Health::Ready), STARTED);
    }
    for job in 0..jobs {
        index.apply_job(JobFacts { retries: Retries::Left, ..mk_job(&job_name(job)) }, STARTED);
    }
    for number in 0..PODS {
        index.apply_pod(pod(number, jobs), STARTED);
    }
    index.start_listening(STARTED);
    index.take_changed();
    index
}

/// What the reaper does for each Job that is due, without the steps themselves.
fn reconcile(index: &Index, reconciler: &mut Reconciler, jobs: usize, second: u64) {
    let (now, at) = (STARTED + Duration::from_secs(second), Instant::now());
    for job in 0..jobs {
        reconciler.enqueue(job_name(job).as_str().into(), at);
    }
    for job in reconciler.promote_due(at) {
        let known = index.evidence(&job);
        let known = known.as_ref().map(|(evidence, policy)| (evidence, policy));
        reconciler.preview(&job, known, &BTreeMap::new(), now);
    }
    for job in reconciler.due(jobs) {
        let wall = |_| jiff::Timestamp::UNIX_EPOCH;
        let mut snapshot = index.snapshot(&job, now, wall).expect("the Job is known");
        let evaluation = reconciler.evaluate(&mut snapshot, SignalHealth::Receiving, now);
        reconciler.done(&job, StepReport::default(), black_box(evaluation).requeue, at, 0.5);
    }
}

/// Every pod ends, and its object goes away.
fn come_and_go(mut index: Index) -> Index {
    let jobs = index.jobs();
    for number in 0..PODS {
        index.apply_pod(PodFacts { phase: PodPhase::Succeeded, ..pod(number, jobs) }, STARTED);
    }
    for number in 0..PODS {
        index.delete_pod(&format!("pod-{number}").as_str().into(), STARTED);
    }
    index
}
