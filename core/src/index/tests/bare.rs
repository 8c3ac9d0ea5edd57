//! Bare pods: each is a Job of its own, and comes and goes with its one pod.

use super::*;
use crate::{
    evidence::{JobIdentity, JobKind},
    snapshot::JobSnapshot,
};

fn mk_bare(uid: &str, progress: Progress) -> JobFacts {
    let facts = mk_job(uid);
    let identity = JobIdentity { kind: JobKind::BarePod, ..facts.identity.clone() };
    JobFacts { identity, progress, wanted_pods: 0, owned: true, ..facts }
}

/// Knows bare pod `bare` beside a Job.
fn mk_state_with_bare() -> Index {
    let mut state = mk_state();
    state.apply_job(mk_bare("bare", Progress::Open), moment(0));
    state.apply_pod(mk_pod("bare", "bare"), moment(0));
    state
}

fn bare(state: &Index) -> JobSnapshot {
    state.snapshot(&"bare".into(), moment(0), wall).expect("it is known")
}

#[test]
fn a_bare_pod_is_a_job_with_one_pod() {
    let evidence = bare(&mk_state_with_bare()).evidence;
    assert_eq!((evidence.job.stage, evidence.pods.len()), (JobStage::Open, 1));
    assert_eq!(evidence.pods[0].uid, "bare".into());
}

#[test]
fn a_bare_pod_whose_object_is_gone_has_vanished() {
    let mut state = mk_state_with_bare();
    state.delete_pod(&"bare".into(), moment(5));
    let known = bare(&state);
    assert_eq!(known.evidence.job.stage, JobStage::Vanished);
    assert_eq!(known.past.map(|past| past.attempt.pod_uid), Some("bare".into()));
    assert_eq!(known.evidence.job.podless_since, None);
    state.forget_job(&"bare".into());
    assert!(!state.knows(&"bare".into()));
}

#[test]
fn a_bare_pod_that_ended_before_its_object_went_has_finished() {
    let mut state = mk_state_with_bare();
    state.apply_job(mk_bare("bare", Progress::Finished(Finish::Complete)), moment(5));
    state.delete_pod(&"bare".into(), moment(6));
    assert!(matches!(bare(&state).evidence.job.stage, JobStage::Finished { .. }));
    assert!(state.is_gone(&"bare".into()));
}

#[test]
fn a_bare_pod_is_missing_only_from_a_list_of_pods() {
    let mut state = mk_state_with_bare();
    state.jobs_listed(&["job".into()].into(), moment(5));
    assert_eq!(bare(&state).evidence.job.stage, JobStage::Open);
    state.pods_listed(&["pod".into()].into(), moment(6));
    assert_eq!(bare(&state).evidence.job.stage, JobStage::Vanished);
    assert_eq!(evidence(&state).job.stage, JobStage::Open, "a Job whose pod is there is as it was");
}

#[test]
fn a_bare_pod_that_its_job_released_is_no_longer_a_pod_of_that_job() {
    let mut state = mk_state();
    state.apply_job(mk_bare("pod", Progress::Open), moment(5));
    state.apply_pod(mk_pod("pod", "pod"), moment(5));
    assert!(evidence(&state).pods.is_empty());
    assert_eq!(state.snapshot(&"pod".into(), moment(5), wall).expect("it is known").evidence.pods.len(), 1);
}

#[test]
fn a_name_finds_the_job_before_a_bare_pod() {
    let mut state = mk_state_with_bare();
    let mut facts = mk_bare("bare", Progress::Open);
    facts.identity.name = "job-name".to_owned();
    state.apply_job(facts, moment(5));
    assert_eq!(state.find("ort", "job-name"), Some("job".into()));
}
