use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::policy::{Effective, Origin, Policy, PolicyField, Setting};

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
            kind: JobKind::Job,
            uid: "11111111-aaaa-4aaa-8aaa-111111111111".into(),
            namespace: "ort".to_owned(),
            name: "analyzer-7".to_owned(),
            run_id: Some("41".into()),
            job_id: Some("7".into()),
            trace_id: Some("0af7".to_owned()),
        },
        effective: Arc::new(Effective {
            policy: Policy { lost_after: Duration::from_secs(45), ..Policy::default() },
            origins: facts.effective.origins.clone(),
        }),
        own: Changes::from_iter([Setting::LostAfter(Duration::from_secs(45))]),
        labels: Labels::keep(&BTreeMap::from([("ort-worker".to_owned(), "analyzer".to_owned())])),
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
        started: facts.started,
    };
    assert_eq!(facts, expected);
    assert_eq!(facts.effective.origins.of(PolicyField::LostAfter), Origin::Job);
    assert_eq!(facts.started.map(|start| start.ago), Some(Duration::from_hours(1)));
    assert!(facts.should_have_pods());
}

#[rstest]
#[case::by_its_label(json!({"metadata": {"labels": {"jobwarden.io/inject": "false"}}}), true)]
#[case::as_others_write_it(json!({"metadata": {"annotations": {"jobwarden.io/inject": "Disabled"}}}), true)]
#[case::in_its_template(json!({"spec": {"template": {"metadata": {"labels": {"jobwarden.io/inject": "false"}}}}}), true)]
#[case::a_label_comes_first(json!({"metadata": {
    "labels": {"jobwarden.io/inject": "true"}, "annotations": {"jobwarden.io/inject": "false"},
}}), false)]
#[case::a_word_without_a_meaning(json!({"metadata": {"labels": {"jobwarden.io/inject": "perhaps"}}}), false)]
#[case::not_by_our_own_label(json!({"metadata": {"labels": {"jobwarden.io/enrolled": "false"}}}), false)]
fn a_job_opts_out_as_admission_reads_it(#[case] change: Value, #[case] expected: bool) {
    assert_eq!(read(change).opted_out, expected);
}

#[rstest]
#[case::generated(json!({}), Members::ByControllerUid)]
#[case::its_own(
    json!({"spec": {"manualSelector": true, "selector": {"matchLabels": {"app": "x", "batch.kubernetes.io/controller-uid": null}}}}),
    Members::BySelector(Box::new(serde_json::from_value(json!({"matchLabels": {"app": "x"}})).expect("a selector"))),
)]
fn a_job_has_the_pods_that_its_controller_selects(#[case] change: Value, #[case] expected: Members) {
    assert_eq!(read(change).members, expected);
}

#[test]
fn the_annotation_of_the_job_overrides_that_of_its_template() {
    let facts = read(json!({"metadata": {"annotations": {"jobwarden.io/lost-after": "30s"}}}));
    assert_eq!(facts.effective.policy.lost_after, Duration::from_secs(30));
}

#[test]
fn an_unreadable_annotation_is_reported() {
    let job = mk_job(json!({"metadata": {"annotations": {"jobwarden.io/lost-after": "soon"}}}));
    let (facts, bad) = JobFacts::read(&job, &Policies::default(), wall()).expect("it has name and UID");
    assert_eq!(facts.effective.policy, Policy::default());
    assert_eq!(bad.len(), 1);
}

#[rstest]
#[case::the_templates(json!({}), Some(120))]
#[case::its_own_first(json!({"metadata": {"labels": {"ort-worker": "advisor"}}}), Some(2))]
#[case::none_of_them(json!({"metadata": {"labels": {"ort-worker": "painter"}}}), None)]
fn a_rule_matches_by_labels(#[case] change: Value, #[case] minutes: Option<u64>) {
    let mut policies = Policies::default();
    policies.set_file(serde_saphyr::from_str("preset: ort-server").expect("valid"));
    let (facts, _) = JobFacts::read(&mk_job(change), &policies, wall()).expect("it has name and UID");
    assert_eq!(facts.effective.policy.active_timeout, minutes.map(Duration::from_mins));
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

#[test]
fn a_start_time_that_kubernetes_keeps_through_a_suspension_does_not_count() {
    let suspended = |suspend: bool, status: &str| {
        let condition = json!({"type": "Suspended", "status": status, "reason": "JobSuspended"});
        read(json!({"spec": {"suspend": suspend}, "status": {"conditions": [condition]}}))
    };
    assert_eq!(suspended(true, "True").started, None);
    assert_eq!(suspended(false, "True").started, None, "the Job controller has yet to set the start time again");
    assert!(suspended(false, "False").started.is_some());
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
fn a_false_condition_is_ignored() {
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
fn a_job_may_be_managed_by_another_controller(#[case] by: Value, #[case] elsewhere: bool) {
    assert_eq!(read(json!({"spec": {"managedBy": by}})).managed_elsewhere, elsewhere);
}

#[rstest]
#[case(json!({"spec": {"suspend": true}}))]
#[case(json!({"spec": {"parallelism": 0}}))]
fn some_open_jobs_need_no_pods(#[case] change: Value) {
    assert!(!read(change).should_have_pods());
}

#[test]
fn remaining_fields_are_read() {
    let facts = read(json!({
        "metadata": {"finalizers": null, "annotations": {"jobwarden.io/safe-to-duplicate": "true"}},
        "spec": {"ttlSecondsAfterFinished": 60, "podReplacementPolicy": "Failed"},
        "status": {"startTime": null},
    }));
    assert!(!facts.has_finalizer && facts.safe_to_duplicate && facts.has_ttl && facts.started.is_none());
    assert!(facts.replaces_only_failed);
}
