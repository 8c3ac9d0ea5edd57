//! Builders of evidence: a healthy worker, and what can be wrong with it.

use std::{collections::BTreeMap, time::Duration};

use jobwarden_common::{identity::PodUid, notification::Cause};

use crate::{
    evidence::{
        AgentObservation, ContainerState, Evidence, JobEvidence, JobIdentity, JobKind, JobStage, LastBeat,
        MainContainer, NodeEvidence, NodeState, PodEvidence, PodPhase, Retries, Sidecar, Terminating,
    },
    guard::{Hold, Holds},
    judge::judge,
    moment::Moment,
    policy::{Labels, Origins, Policy},
    snapshot::JobSnapshot,
    verdict::Judgement,
};

/// The second at which everything is judged.
pub const NOW: u64 = 1000;

pub fn at(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds))
}

pub fn identity() -> JobIdentity {
    JobIdentity {
        kind: JobKind::Job,
        uid: "job-uid".into(),
        namespace: "ort".to_owned(),
        name: "analyzer-7".to_owned(),
        run_id: Some("41".into()),
        job_id: Some("7".into()),
        trace_id: Some("0af7".to_owned()),
    }
}

/// A Job that the Job controller has started, at this stage and without retries.
pub fn mk_job(stage: JobStage) -> JobEvidence {
    JobEvidence {
        identity: identity(),
        stage,
        suspended: false,
        managed_elsewhere: false,
        unenrolled_since: None,
        podless_since: None,
        wanted_pods: 1,
        retries: Retries::Exhausted,
        has_finalizer: true,
        owned: false,
        has_ttl: false,
        safe_to_duplicate: false,
        replaces_only_failed: false,
        started: true,
        active: None,
    }
}

/// The bare pod `w`, as a Job.
pub fn mk_bare(stage: JobStage) -> JobEvidence {
    let identity = JobIdentity { kind: JobKind::BarePod, uid: "w-uid".into(), name: "w".to_owned(), ..identity() };
    JobEvidence { identity, has_finalizer: false, owned: true, replaces_only_failed: true, ..mk_job(stage) }
}

/// A healthy worker pod.
pub fn mk_pod(name: &str) -> PodEvidence {
    PodEvidence {
        uid: PodUid::from(format!("{name}-uid")),
        name: name.to_owned(),
        phase: PodPhase::Running,
        node: Some(NodeEvidence {
            name: "n1".into(),
            zone: None,
            state: NodeState::Ready,
            avoided: false,
            lease_changed: at(NOW - 1),
            lease_steady_since: at(10),
        }),
        bound_since: Some(at(10)),
        ran_since: Some(at(10)),
        unscheduled_since: None,
        terminating: None,
        mains: vec![MainContainer { name: "main".to_owned(), state: ContainerState::Running }],
        starting_since: None,
        initializing: None,
        exited: None,
        rebooted: None,
        start_problem: None,
        sidecar: Sidecar::Started(at(11)),
        beat: LastBeat::Running { last: at(NOW - 1) },
        agent: AgentObservation::Alive { last: at(NOW - 1) },
        cpu_progress: None,
        seen_alive: None,
        cause: Cause::default(),
        work_done: false,
    }
}

/// P8: the node and everything on it went silent at `since`.
pub fn unreachable(name: &str, since: u64) -> PodEvidence {
    let node = NodeEvidence {
        name: "n1".into(),
        zone: None,
        state: NodeState::NotReady,
        avoided: true,
        lease_changed: at(since),
        lease_steady_since: at(0),
    };
    PodEvidence {
        node: Some(node),
        beat: LastBeat::Running { last: at(since) },
        agent: AgentObservation::Alive { last: at(since) },
        ..mk_pod(name)
    }
}

/// P2: the node is deleted.
pub fn on_gone_node(name: &str) -> PodEvidence {
    let mut pod = unreachable(name, 100);
    if let Some(node) = &mut pod.node {
        node.state = NodeState::Deleted { since: at(500) };
    }
    pod
}

pub fn terminating(pod: PodEvidence, since: u64) -> PodEvidence {
    PodEvidence { terminating: Some(Terminating { since: at(since), grace: Duration::from_secs(30) }), ..pod }
}

pub fn mk_snapshot(job: JobEvidence, pods: Vec<PodEvidence>) -> JobSnapshot {
    JobSnapshot {
        evidence: Evidence { job, pods, listening_since: at(0) },
        policy: Policy::default(),
        origins: Origins::default(),
        labels: Labels::default(),
        usage: None,
        past: None,
        timeline: Vec::new(),
        gone: false,
        outcomes: BTreeMap::new(),
    }
}

/// What a guard holds of the pod `w`.
pub fn held_by(hold: Option<Hold>) -> Holds {
    let Some(hold) = hold else { return Holds::default() };
    let mut holds = Holds::from(hold);
    if let Hold::Breaker { .. } = hold {
        holds.add("w-uid".into(), hold);
    }
    holds
}

pub fn judged(snapshot: &JobSnapshot) -> Judgement {
    judge(&snapshot.evidence, &snapshot.policy, at(NOW))
}
