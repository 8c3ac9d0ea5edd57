//! Judging over 100,000 Jobs of one pod each, of which one in ten has signals that may be too old; and whole reconciles of large Jobs.

mod reconcile;

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use jobwarden_core::{
    builders::evidence::{identity, mk_job, mk_pod},
    evidence::{
        AgentObservation, Evidence, JobEvidence, JobIdentity, JobStage, LastBeat, NodeEvidence, NodeState, PodEvidence,
        Retries, Sidecar,
    },
    judge::judge,
    moment::Moment,
    policy::Policy,
};

const JOBS: u64 = 100_000;
const NOW: Moment = Moment::at(Duration::from_hours(2));

fn ago(seconds: u64) -> Moment {
    Moment::at(Duration::from_hours(2).saturating_sub(Duration::from_secs(seconds)))
}

fn evidence(number: u64) -> Evidence {
    let last = ago(if number.is_multiple_of(10) { number % 300 } else { number % 10 });
    let node = NodeEvidence {
        name: "node".into(),
        zone: None,
        state: NodeState::Ready,
        avoided: false,
        lease_changed: last,
        lease_steady_since: ago(7000),
    };
    let pod = PodEvidence {
        uid: format!("pod-{number}").into(),
        name: format!("job-{number}-x"),
        node: Some(node),
        bound_since: Some(ago(3600)),
        ran_since: Some(ago(3590)),
        sidecar: Sidecar::Started(ago(3590)),
        beat: LastBeat::Running { last },
        agent: AgentObservation::Alive { last },
        ..mk_pod("x")
    };
    let identity = JobIdentity {
        uid: format!("job-{number}").into(),
        namespace: "bench".to_owned(),
        name: format!("job-{number}"),
        run_id: None,
        job_id: None,
        trace_id: None,
        ..identity()
    };
    let job = JobEvidence { identity, retries: Retries::Left, ..mk_job(JobStage::Open) };
    Evidence { job, pods: vec![pod], listening_since: ago(7000) }
}

fn judging(criterion: &mut Criterion) {
    let all: Vec<Evidence> = (0..JOBS).map(evidence).collect();
    let policy = Policy::default();
    criterion.bench_function("judge_100k", |bencher| {
        bencher.iter(|| {
            for evidence in &all {
                black_box(judge(black_box(evidence), &policy, NOW));
            }
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = judging, reconcile::reconciling
}
criterion_main!(benches);
