//! Looks up the cause in the cluster before an outcome is recorded, for example in Events, which the reaper does not watch.
//!
//! Only causes that are incomplete are looked up, so that this costs the API server nothing in steady state. A failed or slow
//! look-up delays no outcome: the outcome is recorded with the cause that is known.

use std::time::Duration;

use jiff::Timestamp;
use jobwarden_common::{
    names::{FIELD_MANAGER, reason},
    notification::{Cause, OutcomeData},
};
use jobwarden_core::{
    causes::{
        DeletionFacts, EventFact, SYSTEM_OOM, Writer, asks_node, asks_owner_again, asks_pod, asks_start, of_deletion,
        with_namespace, with_node_events, with_pod_events, with_start_events,
    },
    plan::step::PodRef,
    second_look::Contradiction,
    sidecar_fault::token_volume_fault,
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Namespace, events::v1::Event};
use kube::{Api, api::ListParams};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{ENRICH_WITHIN, ExecuteError, StepRunner};

/// The namespace of Events about nodes, which have no namespace (`metav1.NamespaceDefault`).
const NODE_EVENTS: &str = "default";
/// The most Events to read. The API server lists the oldest first.
const MAX_EVENTS: u32 = 500;
/// For how long a `CronJob` is asked whether it deleted a Job: it publishes its Event after the deletion, and the outcome cannot be changed
/// later.
const ASK_OWNER_FOR: Duration = Duration::from_secs(2);
/// How often.
const ASK_OWNER_EVERY: Duration = Duration::from_millis(250);
/// The reason of its Event. Without it, an hour of Events about a `CronJob` that runs every minute would be read.
const OWNER_DELETED: &str = "SuccessfulDelete";
/// The field manager of the Job controller, which writes to every Job.
const CONTROLLER_MANAGER: &str = "kube-controller-manager";

impl StepRunner<'_> {
    /// Completes the cause with what the cluster knows, at `deadline` at the latest.
    pub(super) async fn find_cause(&self, data: &mut OutcomeData, deadline: Instant) {
        let before = data.cause.clone();
        let lookup = async {
            if data.reason == reason::JOB_DELETED {
                let facts = self.deletion_facts().await?;
                data.cause = of_deletion(&facts);
                return Ok(());
            }
            let Some(attempt) = &data.attempt else { return Ok(()) };
            if let Some(node) = attempt.node.as_ref().filter(|_| asks_node(&data.cause)) {
                let query = format!("regarding.kind=Node,regarding.name={node},reason={SYSTEM_OOM}");
                let events = self.events(NODE_EVENTS, &query).await?;
                data.cause = with_node_events(std::mem::take(&mut data.cause), &events);
            } else if asks_pod(&data.cause) || asks_start(&data.reason, &data.cause) {
                let query = format!("regarding.uid={}", attempt.pod_uid);
                let events = self.events(&self.job.namespace, &query).await?;
                let cause = with_pod_events(std::mem::take(&mut data.cause), &events);
                data.cause = with_start_events(cause, &events);
                if asks_pod(&data.cause)
                    && let Some(since) = self.namespace_deleted().await?
                {
                    data.cause = with_namespace(std::mem::take(&mut data.cause), since);
                }
            }
            if data.cause != before {
                replace_sentence(&mut data.message, &before, &data.cause);
            }
            Ok::<_, kube::Error>(())
        };
        let (job, namespace) = (&self.job.name, &self.job.namespace);
        match timeout_at(deadline, lookup).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(job, namespace, error, "cannot look up the cause; recording the outcome without it");
            }
            Err(_) => {
                tracing::warn!(job, namespace, "looking up the cause timed out; recording the outcome without it");
            }
        }
    }

    /// Whether the Events of a pod blame the volume of our own sidecar for it not starting. If they cannot be read, they blame nothing.
    pub(super) async fn confirm_not_our_fault(&mut self, pod: &PodRef) -> Result<(), ExecuteError> {
        let query = format!("regarding.uid={}", pod.uid);
        let events = match timeout(ENRICH_WITHIN, self.events(&self.job.namespace, &query)).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    pod = pod.name,
                    namespace = self.job.namespace,
                    error,
                    "cannot read the Events of the pod"
                );
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        let Some(says) = token_volume_fault(&events) else { return Ok(()) };
        self.report.sidecar_faults.push((pod.uid.clone(), says.to_owned()));
        self.second_look(Some(&pod.name), Err(Contradiction::OurFault))
    }

    /// When the namespace was deleted; `None` if it is not being deleted, and nothing in that if it is gone.
    async fn namespace_deleted(&self) -> Result<Option<Option<Timestamp>>, kube::Error> {
        let namespaces: Api<Namespace> = Api::all(self.executor.client.clone());
        let Some(namespace) = namespaces.get_opt(&self.job.namespace).await? else { return Ok(Some(None)) };
        Ok(namespace.metadata.deletion_timestamp.map(|at| Some(at.0)))
    }

    async fn deletion_facts(&self) -> Result<DeletionFacts, kube::Error> {
        let mut facts = DeletionFacts {
            job: self.job.name.clone(),
            namespace_terminating: self.namespace_deleted().await?.is_some(),
            ..DeletionFacts::default()
        };
        let Some(job) = &self.deleted else { return Ok(facts) };
        facts.at = job.metadata.deletion_timestamp.as_ref().map(|at| at.0.to_string());
        facts.last_writer = last_writer(job);
        let mut owners = job.metadata.owner_references.iter().flatten();
        if let Some(owner) = owners.find(|owner| owner.controller == Some(true)) {
            let query = format!("regarding.uid={},reason={OWNER_DELETED}", owner.uid);
            facts.owner_kind = Some(owner.kind.clone());
            facts.owner_events = self.events(&self.job.namespace, &query).await?;
            let until = Instant::now() + ASK_OWNER_FOR;
            while asks_owner_again(&facts) && Instant::now() < until {
                sleep(ASK_OWNER_EVERY).await;
                facts.owner_events = self.events(&self.job.namespace, &query).await?;
            }
        }
        Ok(facts)
    }

    async fn events(&self, namespace: &str, query: &str) -> Result<Vec<EventFact>, kube::Error> {
        let events: Api<Event> = Api::namespaced(self.executor.client.clone(), namespace);
        let listed = events.list(&ListParams::default().fields(query).limit(MAX_EVENTS)).await?;
        Ok(listed.items.into_iter().map(fact).collect())
    }
}

/// Replaces the sentence about the cause at the end of a message, or adds it.
fn replace_sentence(message: &mut String, before: &Cause, after: &Cause) {
    let Some(sentence) = after.sentence() else { return };
    if let Some(kept) = before.sentence().and_then(|before| message.strip_suffix(&*before)) {
        message.truncate(kept.trim_end().len());
    }
    message.push(' ');
    message.push_str(&sentence);
}

fn fact(event: Event) -> EventFact {
    let Event { reason, note, series, event_time, deprecated_last_timestamp, reporting_controller, .. } = event;
    let at: Option<Timestamp> = series
        .map(|series| series.last_observed_time.0)
        .or(deprecated_last_timestamp.map(|at| at.0))
        .or(event_time.map(|at| at.0));
    let component = event.deprecated_source.and_then(|source| source.component);
    EventFact {
        reason: reason.unwrap_or_default(),
        note: note.unwrap_or_default(),
        at,
        by: reporting_controller.filter(|by| !by.is_empty()).or(component),
    }
}

/// The last writer of the Job apart from its status, other than jobwarden and the Job controller.
fn last_writer(job: &Job) -> Option<Writer> {
    let entries = job.metadata.managed_fields.iter().flatten();
    let others = entries.filter(|entry| {
        let manager = entry.manager.as_deref().unwrap_or_default();
        entry.subresource.as_deref().unwrap_or_default().is_empty()
            && !manager.is_empty()
            && manager != FIELD_MANAGER
            && manager != CONTROLLER_MANAGER
    });
    let last = others.max_by_key(|entry| entry.time.as_ref().map(|at| at.0))?;
    Some(Writer {
        manager: last.manager.clone().unwrap_or_default(),
        operation: last.operation.clone().unwrap_or_default(),
        at: last.time.as_ref().map(|at| at.0.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use jobwarden_common::notification::{Attempt, CauseKind};
    use jobwarden_core::{
        builders::evidence::identity,
        outcome::OutcomeName,
        plan::step::{Draft, LogPlan, Step},
        policy::Labels,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::{execute::tests::executor_of, fake_api::FakeApi, outbox::object::tests::mk_data};

    const JOB: &str = "/apis/batch/v1/namespaces/ort/jobs/analyzer-7";
    const FINAL: &str = "/apis/jobwarden.io/v1alpha1/namespaces/jobwarden/joboutcomes/job-uid.final";

    async fn recorded(api: &FakeApi, data: OutcomeData, before: Vec<Step>) -> Value {
        let name = OutcomeName::job_final(&"job-uid".into());
        let steps = before
            .into_iter()
            .chain([Step::Record(Box::new(Draft { name, data, labels: Labels::default(), logs: LogPlan::default() }))])
            .collect();
        let executor = executor_of(api);
        let (report, failure) = Box::pin(executor.run_steps(&identity(), steps)).await;
        assert!(!report.failed, "{failure:?}");
        api.get(FINAL).expect("recorded")["spec"]["data"]["cause"].clone()
    }

    fn with_cause(cause: Cause) -> OutcomeData {
        let attempt = Attempt { pod_uid: "w-uid".into(), pod_name: "w".to_owned(), node: Some("n1".into()) };
        OutcomeData { cause, attempt: Some(attempt), ..mk_data() }
    }

    fn killed() -> Cause {
        Cause {
            kind: Some(CauseKind::Signal),
            exit_code: Some(137),
            finished_at: Some("2026-01-02T03:05:35Z".to_owned()),
            ..Cause::default()
        }
    }

    #[tokio::test]
    async fn a_kill_is_oom_if_the_node_has_a_system_oom_event() {
        let api = FakeApi::default();
        api.put(
            "/apis/events.k8s.io/v1/namespaces/default/events/n1.17",
            json!({
                "eventTime": null, "reason": "SystemOOM", "note": "System OOM encountered, victim process: java, pid: 7",
                "deprecatedLastTimestamp": "2026-01-02T03:05:34Z", "deprecatedSource": { "component": "kubelet", "host": "n1" },
            }),
        );
        let cause = recorded(&api, with_cause(killed()), vec![]).await;
        assert_eq!((&cause["kind"], &cause["by"]), (&json!("OOMKilled"), &json!("kubelet")));
    }

    #[tokio::test]
    async fn the_cause_of_a_deleted_pod_comes_from_its_events() {
        let api = FakeApi::default();
        api.put(
            "/apis/events.k8s.io/v1/namespaces/ort/events/w.17",
            json!({ "eventTime": null, "reason": "TaintManagerEviction", "note": "Marking for deletion Pod ort/w" }),
        );
        let deleted = Cause { kind: Some(CauseKind::Deleted), ..killed() };
        let cause = recorded(&api, with_cause(deleted), vec![]).await;
        assert_eq!((&cause["kind"], &cause["by"]), (&json!("Tainted"), &json!("taint-eviction-controller")));
    }

    #[tokio::test]
    async fn the_cause_of_a_deleted_job_names_its_last_writer() {
        let api = FakeApi::default();
        api.put("/api/v1/namespaces/ort", json!({}));
        let entry = |manager: &str, at: &str, subresource: &str| json!({ "manager": manager, "operation": "Update", "time": at, "subresource": subresource });
        api.put(
            JOB,
            json!({
                "metadata": {
                    "namespace": "ort", "uid": "job-uid", "finalizers": ["jobwarden.io/outcome"],
                    "deletionTimestamp": "2026-01-02T03:09:00Z",
                    "managedFields": [
                        entry("ort-server", "2026-01-02T03:04:05Z", ""), entry("jobwarden", "2026-01-02T03:08:00Z", ""),
                        entry("kubectl-edit", "2026-01-02T03:07:00Z", ""), entry("other", "2026-01-02T03:08:00Z", "status"),
                    ],
                },
                "spec": { "template": {} },
            }),
        );
        let data = OutcomeData { reason: reason::JOB_DELETED.to_owned(), ..mk_data() };
        let cause = recorded(&api, data.clone(), vec![Step::ConfirmDeleted]).await;
        assert_eq!(cause["kind"], "Deleted");
        let message = cause["message"].as_str().expect("one");
        assert!(message.contains("unknown by whom") && message.contains("kubectl-edit"), "{message}");

        let api = FakeApi::default();
        api.put("/api/v1/namespaces/ort", json!({ "metadata": { "deletionTimestamp": "2026-01-02T03:09:00Z" } }));
        let cause = recorded(&api, data, vec![Step::ConfirmDeleted]).await;
        assert_eq!(cause["by"], "namespace-controller");
    }

    fn deleted_pod() -> OutcomeData {
        let cause = Cause { kind: Some(CauseKind::Deleted), reason: Some("Deleted".to_owned()), ..Cause::default() };
        let message = "Job has reached the specified backoff limit. The pod was deleted.".to_owned();
        OutcomeData { message, ..with_cause(cause) }
    }

    fn message(api: &FakeApi) -> Value {
        api.get(FINAL).expect("recorded")["spec"]["data"]["message"].clone()
    }

    #[tokio::test]
    async fn a_pod_that_ends_with_its_namespace_says_so() {
        let api = FakeApi::default();
        api.put("/api/v1/namespaces/ort", json!({ "metadata": { "deletionTimestamp": "2026-01-02T03:09:00Z" } }));
        let cause = recorded(&api, deleted_pod(), vec![]).await;
        assert_eq!((&cause["kind"], &cause["by"]), (&json!("Deleted"), &json!("namespace-controller")));
        let expected = "Job has reached the specified backoff limit. The pod was deleted by namespace-controller.";
        assert_eq!(message(&api), expected);

        let api = FakeApi::default();
        api.put("/api/v1/namespaces/ort", json!({}));
        let cause = recorded(&api, deleted_pod(), vec![]).await;
        assert_eq!(cause["by"], Value::Null);
        assert_eq!(message(&api), deleted_pod().message);
    }

    #[tokio::test]
    async fn a_volume_that_cannot_be_mounted_is_the_cause_of_a_pod_that_did_not_start() {
        let api = FakeApi::default();
        let note = "MountVolume.SetUp failed for volume \"inputs\" : configmap \"inputs\" not found";
        let event =
            json!({ "eventTime": null, "reason": "FailedMount", "note": note, "reportingController": "kubelet" });
        api.put("/apis/events.k8s.io/v1/namespaces/ort/events/w.17", event);
        let lost = OutcomeData { reason: reason::START_TIMEOUT.to_owned(), ..with_cause(Cause::default()) };
        for data in [lost, deleted_pod()] {
            api.remove(FINAL);
            let cause = recorded(&api, data, vec![]).await;
            assert_eq!((&cause["kind"], &cause["reason"]), (&json!("CreateFailed"), &json!("FailedMount")));
            assert_eq!(cause["message"], note);
            let message = message(&api);
            let message = message.as_str().expect("one");
            assert!(message.ends_with(" The pod could not start: FailedMount, by kubelet."), "{message}");
        }
    }

    /// A Job that its `CronJob` deletes.
    fn mk_replaced() -> (FakeApi, OutcomeData) {
        let api = FakeApi::default();
        api.put("/api/v1/namespaces/ort", json!({}));
        let owner = json!({ "apiVersion": "batch/v1", "kind": "CronJob", "name": "analyzer", "uid": "cron", "controller": true });
        api.put(
            JOB,
            json!({
                "metadata": {
                    "namespace": "ort", "uid": "job-uid", "finalizers": ["jobwarden.io/outcome"],
                    "deletionTimestamp": "2026-01-02T03:09:00Z", "ownerReferences": [owner],
                },
                "spec": { "template": {} },
            }),
        );
        (api, OutcomeData { reason: reason::JOB_DELETED.to_owned(), ..mk_data() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_cron_job_is_asked_again_until_its_event_is_there() {
        let (api, data) = mk_replaced();
        let late = api.clone();
        let publish = async move {
            sleep(Duration::from_millis(1100)).await;
            let event = json!({ "eventTime": null, "reason": OWNER_DELETED, "note": "Deleted job analyzer-7", "reportingController": "cronjob-controller" });
            late.put("/apis/events.k8s.io/v1/namespaces/ort/events/analyzer.17", event);
        };
        let started = Instant::now();
        let (cause, ()) = tokio::join!(recorded(&api, data, vec![Step::ConfirmDeleted]), publish);
        assert_eq!(cause["by"], "cronjob-controller");
        assert_eq!(started.elapsed().as_millis() / 10, 125);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cron_job_is_asked_for_two_seconds_and_no_longer() {
        let (api, data) = mk_replaced();
        let started = Instant::now();
        let cause = recorded(&api, data, vec![Step::ConfirmDeleted]).await;
        assert_eq!((&cause["kind"], &cause["by"]), (&json!("Deleted"), &Value::Null));
        assert_eq!(started.elapsed().as_millis() / 10, 200);
    }

    #[tokio::test]
    async fn a_pod_whose_token_cannot_be_mounted_is_not_lost() {
        let api = FakeApi::default();
        let note = "MountVolume.SetUp failed for volume \"jobwarden-token\" : failed to fetch token";
        let event = json!({ "eventTime": null, "reason": "FailedMount", "note": note });
        api.put("/apis/events.k8s.io/v1/namespaces/ort/events/w.17", event);
        let pod = PodRef { uid: "w-uid".into(), name: "w".to_owned() };
        let steps = vec![Step::ConfirmNotOurFault { pod }, Step::ReleaseFinalizer];
        let (report, failure) = executor_of(&api).run_steps(&identity(), steps.clone()).await;
        assert!(report.failed && failure.is_some_and(|failure| failure.to_string().contains("keeps it from starting")));
        assert_eq!(report.sidecar_faults, [("w-uid".into(), note.to_owned())]);
        let (report, _) = executor_of(&FakeApi::default()).run_steps(&identity(), steps).await;
        assert!(!report.failed && report.sidecar_faults.is_empty());
    }

    #[tokio::test]
    async fn a_failed_look_up_does_not_prevent_the_outcome() {
        let api = FakeApi::default();
        // The fake API server answers a list of no objects with an error.
        let cause = recorded(&api, with_cause(killed()), vec![]).await;
        assert_eq!(cause["kind"], "Signal");
    }
}
