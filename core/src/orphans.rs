//! Pods that were left behind by their Jobs: which they are, and when one that has ended may be deleted.
//!
//! `kubectl delete job --cascade=orphan` deletes a Job without its pods, and so does a request without a `propagationPolicy`, which for
//! `batch/v1` Jobs means `Orphan` (`jobStrategy.DefaultGarbageCollectionPolicy`, Kubernetes 1.35). Nothing deletes such pods but the pod
//! garbage collector, from 12,500 ended pods on (`--terminated-pod-gc-threshold`).

use std::time::Duration;

use jobwarden_common::{
    identity::{JobUid, PodUid},
    names::label,
};
use k8s_openapi::api::core::v1::Pod;

use crate::{
    moment::Moment,
    policy::{Changes, Labels, Leftover, Policies},
};

/// The Job that a pod was created for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its UID.
    pub uid: JobUid,
    /// Its name.
    pub name: String,
}

/// An ended pod whose Job is not in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The UID of the pod.
    pub uid: PodUid,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The UID of the Job.
    pub job: JobUid,
}

impl Owner {
    /// The Job that a pod names as its controller, or that the labels of the Job controller name on a pod without a controller. `None` for
    /// a pod that was not created for a Job, or has another controller now.
    pub fn of(pod: &Pod) -> Option<Self> {
        let mut owners = pod.metadata.owner_references.iter().flatten();
        if let Some(controller) = owners.find(|owner| owner.controller == Some(true)) {
            let is_job = controller.kind == "Job" && controller.api_version.starts_with("batch/");
            return is_job.then(|| Self { uid: controller.uid.clone().into(), name: controller.name.clone() });
        }
        let labels = pod.metadata.labels.as_ref()?;
        let value = |keys: [&str; 2]| keys.into_iter().find_map(|key| labels.get(key));
        let uid = value([label::CONTROLLER_UID, label::LEGACY_CONTROLLER_UID])?;
        let name = value([label::JOB_NAME, label::LEGACY_JOB_NAME])?;
        Some(Self { uid: uid.clone().into(), name: name.clone() })
    }
}

/// How long an ended pod without a Job is kept, by the policy of its namespace and its own labels and annotations.
pub fn retention(pod: &Pod, policies: &Policies) -> Duration {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let labels = Labels::keep(pod.metadata.labels.iter().flatten());
    let (own, _) = Changes::by_annotations(&pod.metadata.annotations.clone().unwrap_or_default());
    policies.effective(namespace, &labels, &own).policy.retention_of(Leftover::Orphaned)
}

/// Whether an ended pod has been seen without its Job for its retention.
pub fn is_due(since: Moment, retention: Duration, now: Moment) -> bool {
    now.since(since) >= retention
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        policy::Policy,
        second_look::{Answer, Contradiction, Proceed, delete_orphan},
    };

    /// An ended pod that its Job has left behind, with some fields changed.
    fn pod(change: &Value) -> Pod {
        let mut pod = json!({
            "metadata": {
                "namespace": "ort", "name": "w", "uid": "w-uid",
                "labels": {
                    "jobwarden.io/enrolled": "true", "batch.kubernetes.io/controller-uid": "job-uid",
                    "batch.kubernetes.io/job-name": "job"
                }
            },
            "spec": { "containers": [{ "name": "main" }] },
            "status": { "phase": "Failed" }
        });
        json_patch::merge(&mut pod, change);
        serde_json::from_value(pod).expect("a pod")
    }

    fn owner() -> Owner {
        Owner { uid: "job-uid".into(), name: "job".to_owned() }
    }

    fn controlled(kind: &str, uid: &str) -> Value {
        let reference =
            json!({ "apiVersion": "batch/v1", "kind": kind, "name": "job", "uid": uid, "controller": true });
        json!({ "metadata": { "ownerReferences": [reference] } })
    }

    #[rstest]
    #[case::by_its_labels(json!({}), Some(owner()))]
    #[case::of_an_old_cluster(
        json!({"metadata": {"labels": {
            "batch.kubernetes.io/controller-uid": null, "batch.kubernetes.io/job-name": null, "controller-uid": "job-uid", "job-name": "job"
        }}}),
        Some(owner())
    )]
    #[case::by_its_controller(controlled("Job", "job-uid"), Some(owner()))]
    #[case::adopted_by_another(controlled("ReplicaSet", "other"), None)]
    #[case::no_pod_of_a_job(json!({"metadata": {"labels": {"batch.kubernetes.io/controller-uid": null}}}), None)]
    fn a_pod_names_the_job_that_it_was_created_for(#[case] change: Value, #[case] expected: Option<Owner>) {
        assert_eq!(Owner::of(&pod(&change)), expected);
    }

    #[rstest]
    #[case::its_job_is_gone(json!({}), None, Ok(Proceed::Write))]
    #[case::another_job_has_its_name(json!({}), Some("new-uid"), Ok(Proceed::Write))]
    #[case::the_garbage_collector_is_late(controlled("Job", "job-uid"), None, Ok(Proceed::Write))]
    #[case::its_job_exists(json!({}), Some("job-uid"), Err(Contradiction::JobExists))]
    #[case::runs(json!({"status": {"phase": "Running"}}), None, Err(Contradiction::PodNotEnded))]
    #[case::node_unknown(json!({"status": {"phase": "Unknown"}}), None, Err(Contradiction::PodNotEnded))]
    #[case::is_being_deleted(json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}), None, Ok(Proceed::AlreadyDone))]
    #[case::opted_out(json!({"metadata": {"labels": {"jobwarden.io/inject": "false"}}}), None, Err(Contradiction::OptedOut))]
    #[case::never_enrolled(json!({"metadata": {"labels": {"jobwarden.io/enrolled": null}}}), None, Err(Contradiction::OptedOut))]
    #[case::adopted_by_another_job(controlled("Job", "other"), None, Err(Contradiction::NotOfThisJob))]
    #[case::adopted_by_another_controller(controlled("ReplicaSet", "other"), None, Err(Contradiction::NotOfThisJob))]
    fn only_an_ended_pod_of_ours_whose_job_is_gone_is_deleted(
        #[case] change: Value,
        #[case] live_job: Option<&str>,
        #[case] expected: Answer,
    ) {
        let job = live_job.map(|uid| serde_json::from_value(json!({"metadata": {"name": "job", "uid": uid}})));
        let job = job.transpose().expect("a Job");
        assert_eq!(delete_orphan(&owner(), Some(&pod(&change)), job.as_ref()), expected);
    }

    #[test]
    fn a_pod_that_is_gone_needs_no_deletion() {
        assert_eq!(delete_orphan(&owner(), None, None), Ok(Proceed::AlreadyDone));
    }

    #[test]
    fn its_own_annotations_and_labels_say_how_long_it_is_kept() {
        let mut policies = Policies::new(Policy::default());
        let file = "set: {retentionOrphaned: 2h}\nrules: [{match: {size: big}, set: {retentionOrphaned: 3h}}]";
        policies.set_file(serde_saphyr::from_str(file).expect("valid"));
        let hours = |change| retention(&pod(&change), &policies).as_secs() / 3600;
        assert_eq!(hours(json!({})), 2);
        assert_eq!(hours(json!({"metadata": {"labels": {"size": "big"}}})), 3);
        assert_eq!(hours(json!({"metadata": {"annotations": {"jobwarden.io/retention-orphaned": "4h"}}})), 4);
    }

    #[test]
    fn the_retention_begins_when_it_is_first_seen_without_its_job() {
        let at = |seconds| Moment::at(Duration::from_secs(seconds));
        assert!(!is_due(at(10), Duration::from_secs(5), at(14)));
        assert!(is_due(at(10), Duration::from_secs(5), at(15)));
    }
}
