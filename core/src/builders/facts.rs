//! Builders of facts: a Job with one pod that runs on `node-1`.

use std::sync::Arc;

use jobwarden_common::{
    names::label,
    observation::{ContainerObservation, PodObservation, Report},
};

use crate::{
    evidence::{ContainerState, JobIdentity, JobKind, PodPhase, Retries},
    facts::{
        job::{BackOff, JobFacts, Progress, Start},
        membership::{Claim, Members},
        node::{Health, LeaseFacts, NodeFacts},
        pod::{MainFacts, PodFacts, SidecarFacts, StartPhase},
    },
    policy::{Changes, Labels},
};

pub fn mk_job(uid: &str) -> JobFacts {
    JobFacts {
        identity: JobIdentity {
            kind: JobKind::Job,
            uid: uid.into(),
            namespace: "ort".to_owned(),
            name: format!("{uid}-name"),
            run_id: None,
            job_id: Some("7".into()),
            trace_id: None,
        },
        effective: Arc::default(),
        own: Changes::default(),
        labels: Labels::default(),
        progress: Progress::Open,
        deletion: None,
        members: Members::ByControllerUid,
        suspended: false,
        opted_out: false,
        managed_elsewhere: false,
        wanted_pods: 1,
        back_off: BackOff::AfterFailures(0),
        retries: Retries::Left,
        has_finalizer: true,
        owned: false,
        has_ttl: false,
        safe_to_duplicate: false,
        replaces_only_failed: false,
        started: Some(Start { at: jiff::Timestamp::UNIX_EPOCH, ago: std::time::Duration::ZERO }),
    }
}

/// A pod whose one main container has the ID `<uid>-main`.
pub fn mk_pod(uid: &str, job: &str) -> PodFacts {
    PodFacts {
        uid: uid.into(),
        name: format!("{uid}-name"),
        job: Some(job.into()),
        claim: Some(Box::new(mk_claim("ort", job))),
        left_behind: None,
        phase: PodPhase::Running,
        node: Some("node-1".into()),
        grace: None,
        mains: vec![mk_main("main", ContainerState::Running, Some(&format!("{uid}-main")))],
        others_running: Box::default(),
        start: StartPhase::NotStarting,
        initializing: None,
        start_problem: None,
        sidecar: SidecarFacts::Started,
        cause: None,
        oom_killed: false,
        memory_limit_bytes: None,
        work_done: false,
        ran_for: None,
        earlier_failures: 0,
    }
}

/// The claim of a pod of this namespace that carries the UID of the Job.
pub fn mk_claim(namespace: &str, job: &str) -> Claim {
    Claim::new(namespace, job, Some(&[(label::CONTROLLER_UID.to_owned(), job.to_owned())].into()))
}

pub fn mk_main(name: &str, state: ContainerState, id: Option<&str>) -> MainFacts {
    MainFacts { name: name.into(), state, id: id.map(Into::into), earlier_id: None, exit_code: None }
}

pub fn mk_node(name: &str, health: Health) -> NodeFacts {
    NodeFacts { name: name.into(), zone: None, health, changed: None, avoided: false, boot_id: None }
}

pub fn mk_lease(node: &str, renewed: i64) -> LeaseFacts {
    let renewed = jiff::Timestamp::from_second(renewed).expect("in range");
    LeaseFacts { node: node.into(), renewed: Some(renewed) }
}

pub fn mk_container(id: &str, processes: u32) -> ContainerObservation {
    ContainerObservation {
        container_id: id.to_owned(),
        processes,
        rss_bytes: 0,
        rss_sum_peak_bytes: 0,
        largest_hwm_bytes: 0,
        cpu_ms: 0,
        cgroup_peak_bytes: None,
    }
}

/// A report about these pods, each with the number of processes in its main container.
pub fn mk_report(pods: &[(&str, u32)]) -> Report {
    let entry = |&(pod, processes): &(&str, u32)| PodObservation {
        pod_uid: pod.into(),
        containers: vec![mk_container(&format!("{pod}-main"), processes)],
    };
    Report { seq: 0, blind: None, pods: pods.iter().map(entry).collect() }
}
