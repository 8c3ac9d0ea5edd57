//! What the reaper keeps of a Job: pure reading of the object.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use jobwarden_common::names::{FINALIZER, annotation, label_value};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};

use crate::{
    evidence::{Finish, JobIdentity, Retries},
    policy::{BadSetting, Changes, Effective, Labels, Origins, Policies, Policy},
};

/// The Job controller of Kubernetes itself (`batchv1.JobControllerName`).
const KUBERNETES_JOB_CONTROLLER: &str = "kubernetes.io/job-controller";

/// The finalizer that asks the garbage collector to leave the pods alone (`metav1.FinalizerOrphanDependents`).
const ORPHAN_FINALIZER: &str = "orphan";

/// `backoffLimit` where a Job says nothing, by the API's own defaulting.
const DEFAULT_BACKOFF_LIMIT: i32 = 6;

/// What is kept of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct JobFacts {
    /// Who it is.
    pub identity: JobIdentity,
    /// How it is judged.
    pub policy: Policy,
    /// Which layer each value of that comes from.
    pub origins: Origins,
    /// What its own annotations say of it.
    pub own: Changes,
    /// By which rules choose it.
    pub labels: Labels,
    /// How far it has come, by its conditions.
    pub progress: Progress,
    /// It carries a deletion timestamp.
    pub deletion: Option<Deletion>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `spec.managedBy` names another controller.
    pub managed_elsewhere: bool,
    /// `spec.parallelism` is 0: it wants no pods.
    pub wants_no_pods: bool,
    /// See [`Retries`].
    pub retries: Retries,
    /// Carries our finalizer.
    pub has_finalizer: bool,
    /// Has a controller among its owners.
    pub owned: bool,
    /// Kubernetes deletes it after a time.
    pub has_ttl: bool,
    /// Two of its pods may run side by side.
    pub safe_to_duplicate: bool,
    /// A pod that is being deleted is neither counted nor replaced before it has ended.
    pub replaces_only_failed: bool,
    /// When the Job controller took it up.
    pub started: Option<Start>,
}

/// When the Job controller took a Job up. The same start is equal to itself whenever it is read.
#[derive(Clone, Copy, Debug, Eq)]
pub struct Start {
    /// `status.startTime`, by the clock of the Job controller.
    pub at: Timestamp,
    /// How long ago that was when it was read. The one figure that joins two clocks: both keep the time of the cluster, and
    /// Kubernetes' own deadline of a Job survives a restart of its controller in the same way.
    pub ago: Duration,
}

impl PartialEq for Start {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

/// How far a Job has come, by its conditions; an earlier variant wins where several hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// `Complete` or `Failed`.
    Finished(Finish),
    /// `FailureTarget`.
    Failing {
        /// The condition's reason.
        reason: String,
        /// The condition's message.
        message: String,
    },
    /// `SuccessCriteriaMet`.
    Succeeding,
    /// None of these.
    Open,
}

/// How a Job is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Its pods are to be left alone.
    pub orphaning: bool,
}

impl JobFacts {
    /// Reads a Job when the wall clock shows `wall`, and says which annotations could not be read. `None` for an object
    /// without name or UID, which the API server never sends.
    pub fn read(job: &Job, policies: &Policies, wall: Timestamp) -> Option<(Self, Vec<BadSetting>)> {
        let Job { metadata, spec, status } = job;
        let (unset_spec, unset_status) = (JobSpec::default(), JobStatus::default());
        let (spec, status) = (spec.as_ref().unwrap_or(&unset_spec), status.as_ref().unwrap_or(&unset_status));

        let annotations = annotations(job);
        let (own, bad) = Changes::by_annotations(&annotations);
        let labels = labels(job);
        let identity = JobIdentity {
            uid: metadata.uid.clone()?.into(),
            namespace: metadata.namespace.clone()?,
            name: metadata.name.clone()?,
            run_id: annotations.get(annotation::RUN_ID).map(|id| id.clone().into()),
            job_id: annotations.get(annotation::JOB_ID).map(|id| id.clone().into()),
            trace_id: annotations.get(annotation::TRACE_ID).cloned(),
        };
        let Effective { policy, origins } = policies.effective(&identity.namespace, &labels, &own);
        let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
        let has_finalizer = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
        let facts = Self {
            identity,
            policy,
            origins,
            own,
            labels,
            progress: progress(status.conditions.as_deref().unwrap_or_default()),
            deletion: metadata
                .deletion_timestamp
                .is_some()
                .then(|| Deletion { orphaning: has_finalizer(ORPHAN_FINALIZER) }),
            suspended: spec.suspend.unwrap_or(false),
            managed_elsewhere: spec.managed_by.as_deref().is_some_and(|by| by != KUBERNETES_JOB_CONTROLLER),
            wants_no_pods: spec.parallelism == Some(0),
            retries: retries(spec, status),
            has_finalizer: has_finalizer(FINALIZER),
            owned: metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true)),
            has_ttl: spec.ttl_seconds_after_finished.is_some(),
            replaces_only_failed: spec.pod_replacement_policy.as_deref() == Some("Failed"),
            safe_to_duplicate: annotations.get(annotation::SAFE_TO_DUPLICATE).is_some_and(|v| v == label_value::TRUE),
            started: status.start_time.as_ref().map(|time| Start { at: time.0, ago: since(time.0, wall) }),
        };
        Some((facts, bad))
    }

    /// Open, not suspended and wanting pods: one without pods should have some.
    pub fn should_have_pods(&self) -> bool {
        self.progress == Progress::Open && self.deletion.is_none() && !self.suspended && !self.wants_no_pods
    }
}

fn since(at: Timestamp, wall: Timestamp) -> Duration {
    wall.duration_since(at).try_into().unwrap_or(Duration::ZERO)
}

/// The labels of the Job's pod template, overridden by the Job's own.
fn labels(job: &Job) -> Labels {
    let template = job.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let of_template = template.and_then(|metadata| metadata.labels.as_ref());
    Labels::keep(of_template.into_iter().chain(job.metadata.labels.as_ref()).flatten())
}

/// The annotations of the Job's pod template, overridden by the Job's own.
fn annotations(job: &Job) -> BTreeMap<String, String> {
    let template = job.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let of_template = template.and_then(|metadata| metadata.annotations.as_ref());
    let own = job.metadata.annotations.as_ref();
    of_template.into_iter().chain(own).flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn progress(conditions: &[JobCondition]) -> Progress {
    let holds = |type_: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
    let words = |condition: &JobCondition| {
        (condition.reason.clone().unwrap_or_default(), condition.message.clone().unwrap_or_default())
    };
    if holds("Complete").is_some() {
        Progress::Finished(Finish::Complete)
    } else if let Some((reason, message)) = holds("Failed").map(words) {
        Progress::Finished(Finish::Failed { reason, message })
    } else if let Some((reason, message)) = holds("FailureTarget").map(words) {
        Progress::Failing { reason, message }
    } else if holds("SuccessCriteriaMet").is_some() {
        Progress::Succeeding
    } else {
        Progress::Open
    }
}

/// By the Job controller's own rule: it fails a Job whose failed pods are more than `backoffLimit`. Those it has yet to
/// count (`uncountedTerminatedPods`) have failed as well.
fn retries(spec: &JobSpec, status: &JobStatus) -> Retries {
    if spec.backoff_limit_per_index.is_some() || spec.pod_failure_policy.is_some() {
        return Retries::LeftToKubernetes;
    }
    let uncounted = status.uncounted_terminated_pods.as_ref().and_then(|pods| pods.failed.as_ref()).map_or(0, Vec::len);
    let failed = i64::from(status.failed.unwrap_or(0)) + i64::try_from(uncounted).unwrap_or(i64::MAX / 2);
    let limit = i64::from(spec.backoff_limit.unwrap_or(DEFAULT_BACKOFF_LIMIT));
    if failed < limit { Retries::Left } else { Retries::Exhausted }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::{Knob, Origin, Setting};

    /// A Job as the API server sends it, changed by a merge of `change`.
    #[allow(clippy::needless_pass_by_value, reason = "reads well with json!")]
    fn mk_job(change: Value) -> Job {
        let mut job = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": "analyzer-7", "namespace": "ort", "uid": "11111111-aaaa-4aaa-8aaa-111111111111",
                "resourceVersion": "812", "generation": 1, "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"jobwarden.io/enrolled": "true", "jobwarden.io/run-id": "41", "jobwarden.io/job-id": "7"},
                "annotations": {"jobwarden.io/run-id": "41", "jobwarden.io/job-id": "7", "jobwarden.io/trace-id": "0af7"},
                "finalizers": ["jobwarden.io/outcome"],
            },
            "spec": {
                "parallelism": 1, "completions": 1, "backoffLimit": 2, "completionMode": "NonIndexed", "suspend": false,
                "podReplacementPolicy": "TerminatingOrFailed", "manualSelector": false,
                "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "11111111-aaaa-4aaa-8aaa-111111111111"}},
                "template": {
                    "metadata": {
                        "labels": {"ort-worker": "analyzer", "job-name": "analyzer-7"},
                        "annotations": {"jobwarden.io/lost-after": "45s"},
                    },
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "worker"}]},
                },
            },
            "status": {"active": 1, "ready": 1, "terminating": 0, "startTime": "2026-01-02T03:04:05Z", "uncountedTerminatedPods": {}},
        });
        json_patch::merge(&mut job, &change);
        serde_json::from_value(job).expect("a Job")
    }

    fn read(change: Value) -> JobFacts {
        JobFacts::read(&mk_job(change), &Policies::default(), wall()).expect("it has name and UID").0
    }

    /// An hour after the Job has started.
    fn wall() -> Timestamp {
        "2026-01-02T04:04:05Z".parse().expect("a time")
    }

    fn condition(type_: &str) -> Value {
        json!({"type": type_, "status": "True", "reason": "BackoffLimitExceeded", "message": "too many"})
    }

    #[test]
    fn a_running_job_is_read_whole() {
        let facts = read(json!({}));
        let expected = JobFacts {
            identity: JobIdentity {
                uid: "11111111-aaaa-4aaa-8aaa-111111111111".into(),
                namespace: "ort".to_owned(),
                name: "analyzer-7".to_owned(),
                run_id: Some("41".into()),
                job_id: Some("7".into()),
                trace_id: Some("0af7".to_owned()),
            },
            policy: Policy { lost_after: Duration::from_secs(45), ..Policy::default() },
            origins: facts.origins.clone(),
            own: Changes::from_iter([Setting::LostAfter(Duration::from_secs(45))]),
            labels: Labels::keep(&BTreeMap::from([("ort-worker".to_owned(), "analyzer".to_owned())])),
            progress: Progress::Open,
            deletion: None,
            suspended: false,
            managed_elsewhere: false,
            wants_no_pods: false,
            retries: Retries::Left,
            has_finalizer: true,
            owned: false,
            has_ttl: false,
            safe_to_duplicate: false,
            replaces_only_failed: false,
            started: facts.started,
        };
        assert_eq!(facts, expected);
        assert_eq!(facts.origins.of(Knob::LostAfter), Origin::Job);
        assert_eq!(facts.started.map(|start| start.ago), Some(Duration::from_hours(1)));
        assert!(facts.should_have_pods());
    }

    #[test]
    fn the_jobs_own_annotation_beats_that_of_its_template() {
        let facts = read(json!({"metadata": {"annotations": {"jobwarden.io/lost-after": "30s"}}}));
        assert_eq!(facts.policy.lost_after, Duration::from_secs(30));
    }

    #[test]
    fn a_bad_annotation_is_told() {
        let job = mk_job(json!({"metadata": {"annotations": {"jobwarden.io/lost-after": "soon"}}}));
        let (facts, bad) = JobFacts::read(&job, &Policies::default(), wall()).expect("it has name and UID");
        assert_eq!(facts.policy, Policy::default());
        assert_eq!(bad.len(), 1);
    }

    #[rstest]
    #[case::the_templates(json!({}), Some(120))]
    #[case::its_own_first(json!({"metadata": {"labels": {"ort-worker": "advisor"}}}), Some(2))]
    #[case::none_of_them(json!({"metadata": {"labels": {"ort-worker": "painter"}}}), None)]
    fn a_rule_chooses_by_labels(#[case] change: Value, #[case] minutes: Option<u64>) {
        let mut policies = Policies::default();
        policies.set_file(serde_saphyr::from_str("preset: ort-server").expect("valid"));
        let (facts, _) = JobFacts::read(&mk_job(change), &policies, wall()).expect("it has name and UID");
        assert_eq!(facts.policy.active_timeout, minutes.map(Duration::from_mins));
    }

    #[test]
    fn a_start_is_the_same_whenever_it_is_read() {
        let job = mk_job(json!({}));
        let read = |wall| JobFacts::read(&job, &Policies::default(), wall).expect("it has name and UID").0;
        let (early, late) = (read(wall()), read(wall() + Duration::from_hours(5)));
        assert_eq!(early, late);
        let before_it_started = read(wall() - Duration::from_hours(9));
        assert_eq!(before_it_started.started.map(|start| start.ago), Some(Duration::ZERO));
    }

    #[rstest]
    #[case::none(&[], Progress::Open)]
    #[case::succeeding(&["SuccessCriteriaMet"], Progress::Succeeding)]
    #[case::failing(&["FailureTarget"], Progress::Failing { reason: "BackoffLimitExceeded".into(), message: "too many".into() })]
    #[case::failed(&["FailureTarget", "Failed"], Progress::Finished(Finish::Failed { reason: "BackoffLimitExceeded".into(), message: "too many".into() }))]
    #[case::complete(&["SuccessCriteriaMet", "Complete"], Progress::Finished(Finish::Complete))]
    #[case::suspended(&["Suspended"], Progress::Open)]
    fn progress_is_what_the_conditions_say(#[case] types: &[&str], #[case] expected: Progress) {
        let conditions: Vec<_> = types.iter().map(|type_| condition(type_)).collect();
        assert_eq!(read(json!({"status": {"conditions": conditions}})).progress, expected);
    }

    #[test]
    fn a_condition_that_does_not_hold_says_nothing() {
        let conditions = json!([{"type": "Failed", "status": "False"}, {"type": "FailureTarget", "status": "Unknown"}]);
        assert_eq!(read(json!({"status": {"conditions": conditions}})).progress, Progress::Open);
    }

    #[rstest]
    #[case::none_failed(json!({}), Retries::Left)]
    #[case::one_left(json!({"status": {"failed": 1}}), Retries::Left)]
    #[case::last_attempt(json!({"status": {"failed": 2}}), Retries::Exhausted)]
    #[case::uncounted_failures_count(json!({"status": {"failed": 1, "uncountedTerminatedPods": {"failed": ["p"]}}}), Retries::Exhausted)]
    #[case::no_retries(json!({"spec": {"backoffLimit": 0}}), Retries::Exhausted)]
    #[case::default_limit(json!({"spec": {"backoffLimit": null}, "status": {"failed": 5}}), Retries::Left)]
    #[case::per_index(json!({"spec": {"backoffLimitPerIndex": 1}}), Retries::LeftToKubernetes)]
    #[case::policy(json!({"spec": {"podFailurePolicy": {"rules": []}}}), Retries::LeftToKubernetes)]
    fn retries_follow_the_job_controllers_rule(#[case] change: Value, #[case] expected: Retries) {
        assert_eq!(read(change).retries, expected);
    }

    #[rstest]
    #[case::plain(json!(["jobwarden.io/outcome"]), false)]
    #[case::foreground(json!(["foregroundDeletion"]), false)]
    #[case::orphan(json!(["orphan", "jobwarden.io/outcome"]), true)]
    fn a_deletion_may_be_orphaning(#[case] finalizers: Value, #[case] orphaning: bool) {
        let facts = read(json!({"metadata": {"deletionTimestamp": "2026-01-02T04:00:00Z", "finalizers": finalizers}}));
        assert_eq!(facts.deletion, Some(Deletion { orphaning }));
        assert!(!facts.should_have_pods());
    }

    #[rstest]
    #[case::controller(json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": "u", "controller": true}]), true)]
    #[case::mere_owner(json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u"}]), false)]
    fn only_a_controller_owns(#[case] owners: Value, #[case] owned: bool) {
        assert_eq!(read(json!({"metadata": {"ownerReferences": owners}})).owned, owned);
    }

    #[rstest]
    #[case(json!("kueue.x-k8s.io/multikueue"), true)]
    #[case(json!("kubernetes.io/job-controller"), false)]
    fn another_controller_may_manage_it(#[case] by: Value, #[case] elsewhere: bool) {
        assert_eq!(read(json!({"spec": {"managedBy": by}})).managed_elsewhere, elsewhere);
    }

    #[rstest]
    #[case(json!({"spec": {"suspend": true}}))]
    #[case(json!({"spec": {"parallelism": 0}}))]
    fn some_open_jobs_want_no_pods(#[case] change: Value) {
        assert!(!read(change).should_have_pods());
    }

    #[test]
    fn the_small_marks_are_read() {
        let facts = read(json!({
            "metadata": {"finalizers": null, "annotations": {"jobwarden.io/safe-to-duplicate": "true"}},
            "spec": {"ttlSecondsAfterFinished": 60, "podReplacementPolicy": "Failed"},
            "status": {"startTime": null},
        }));
        assert!(!facts.has_finalizer && facts.safe_to_duplicate && facts.has_ttl && facts.started.is_none());
        assert!(facts.replaces_only_failed);
    }
}
