//! Whom nothing may happen to: a Job in a namespace of its own, with what is true of it before, during and after an attack.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::identity::{JobId, RunId};
use jobwarden_common::names::{annotation, reason};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_testbed::TempNamespace;
use jobwarden_tests::environment::{ENDLESS, Environment, LeasedNode, RECOVERY, SOON};
use jobwarden_tests::job::Worker;
use jobwarden_tests::{reaper_api, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use serde_json::Value;

use super::attacker::{EVIL, Target};

/// The name of the Job.
const JOB: &str = "work";

/// The earliest and the latest time after a crash at which its loss is due: a Lease is stale 25 s after its last renewal, a beat expires
/// before, and signals are read within a second.
pub(super) const LOSS_DUE: Duration = Duration::from_secs(27);

/// How the Job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its work is done.
    Succeeds,
    /// It is deleted. In the foreground it would wait for whatever names it as its owner, in any namespace: that is Kubernetes' own.
    IsDeleted,
    /// Its pod is deleted, and it has no retries.
    LosesItsPod,
    /// Its node crashes.
    LosesItsNode,
}

/// A Job in a namespace of its own, and its running worker.
pub(super) struct Subject<'a> {
    environment: &'a Environment,
    role: &'static str,
    namespace: TempNamespace,
    job: Job,
    pod: Pod,
    run_id: String,
    job_id: String,
    /// The trace ID. Nobody else is given it.
    secret: String,
    /// Job and pod while the worker runs.
    before: [Value; 2],
}

impl<'a> Subject<'a> {
    /// Starts it, and waits until its objects change no more.
    pub(super) async fn start(environment: &'a Environment, role: &'static str, node: &str) -> anyhow::Result<Self> {
        let namespace = environment.enrolled_namespace(role).await?;
        let secret = format!("secret-{:016x}", fastrand::u64(..));
        let (run_id, job_id) = (format!("run-of-{}", namespace.name()), format!("job-of-{}", namespace.name()));
        let worker = Worker::new(JOB, 1, ENDLESS)
            .on_node(node)
            .grace(1)
            .annotation(annotation::RUN_ID, &run_id)
            .annotation(annotation::JOB_ID, &job_id)
            .annotation(annotation::TRACE_ID, &secret);
        environment.submit(namespace.name(), &worker).await?;
        let client = &environment.client;
        let pod = wait::until_running(client, namespace.name(), JOB, &[], SOON).await?.name_any();
        let pod = wait::until::<Pod>(client, namespace.name(), &pod, SOON, "ready", |pod| pod.is_some_and(is_ready));
        let pod = pod.await?.context("the pod is gone")?;
        let counted = |job: Option<&Job>| {
            let status = job.and_then(|job| job.status.as_ref());
            status.is_some_and(|status| status.active == Some(1) && status.ready == Some(1))
        };
        let job = wait::until::<Job>(client, namespace.name(), JOB, SOON, "counted as ready", counted).await?;
        let job = job.context("the Job is gone")?;
        let before = [lasting(&job)?, lasting(&pod)?];
        Ok(Self { environment, role, namespace, job, pod, run_id, job_id, secret, before })
    }

    /// What an attacker knows of it.
    pub(super) fn target(&self) -> Target {
        Target {
            namespace: self.namespace.name().to_owned(),
            job: JOB.to_owned(),
            job_uid: self.job.uid().unwrap_or_default(),
            run_id: self.run_id.clone(),
            job_id: self.job_id.clone(),
            pod: self.pod.name_any(),
            pod_uid: self.pod.uid().unwrap_or_default(),
        }
    }

    /// That nothing of it has been changed, hidden or invented while its worker runs.
    pub(super) async fn is_untouched(&self) -> anyhow::Result<()> {
        let (client, namespace, role) = (&self.environment.client, self.namespace.name(), self.role);
        let job = Api::<Job>::namespaced(client.clone(), namespace).get(JOB).await;
        let job = job.with_context(|| format!("the Job of the {role}"))?;
        let pod = Api::<Pod>::namespaced(client.clone(), namespace).get(&self.pod.name_any()).await;
        let pod = pod.with_context(|| format!("the pod of the {role}"))?;
        for (before, now) in self.before.iter().zip([lasting(&job)?, lasting(&pod)?]) {
            let differs = differences(before, &now);
            ensure!(differs.is_empty(), "of the {role}'s {} differs {differs:#?}", before["metadata"]["name"]);
        }
        let told = self.told();
        ensure!(told.is_empty(), "the orchestrator was told of the {role} before its end: {told:#?}");
        let own = [self.pod.name_any()];
        let only_own = |explanation: &Value| {
            let pods = explanation["pods"].as_array().into_iter().flatten();
            pods.map(|pod| pod["name"].as_str().unwrap_or_default()).eq(own.iter().map(String::as_str))
        };
        let state = format!("explained by its own pod {} alone", own[0]);
        reaper_api::until(client, namespace, JOB, Duration::from_secs(10), &state, only_own).await?;
        let events = Api::<Event>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?;
        let foreign: Vec<_> =
            events.items.iter().filter_map(|it| it.message.as_deref()).filter(|it| it.contains(EVIL)).collect();
        ensure!(foreign.is_empty(), "Events of the {role} have foreign words: {foreign:?}");
        Ok(())
    }

    /// Ends it, and returns how long its notification took from when Kubernetes knew of the end, or from the crash of its node. It is what it
    /// would have been without the attack.
    pub(super) async fn end(&self, ending: Ending, node: Option<&LeasedNode>) -> anyhow::Result<Duration> {
        let (client, namespace, role) = (&self.environment.client, self.namespace.name(), self.role);
        let known = self.bring_about(ending, node).await.with_context(|| format!("ending the {role} ({ending:?})"))?;
        let waited = self.environment.receiver.wait_for(namespace, JOB, SOON, |event| event.data.kind.is_final()).await;
        if let Some(node) = node {
            self.environment.cluster.start_node(node.name()).await?;
        }
        let received = waited.with_context(|| format!("the outcome of the {role} ({ending:?})"))?;
        let (event, data) = (&received.event, &received.event.data);
        let (kind, because) = match ending {
            Ending::Succeeds => (OutcomeKind::Succeeded, None),
            Ending::IsDeleted => (OutcomeKind::Lost, Some(reason::JOB_DELETED)),
            Ending::LosesItsPod => (OutcomeKind::Failed, None),
            Ending::LosesItsNode => (OutcomeKind::Lost, Some(reason::NODE_UNREACHABLE)),
        };
        ensure!(data.kind == kind, "the outcome of the {role} is {} instead of {kind}: {data:#?}", data.kind);
        ensure!(because.is_none_or(|because| data.reason == because), "the reason of the {role}: {data:#?}");
        let ids = [
            ("Job's UID", Some(data.job_uid.as_str()), self.job.uid()),
            ("run ID", data.run_id.as_ref().map(RunId::as_str), Some(self.run_id.clone())),
            ("job ID", data.job_id.as_ref().map(JobId::as_str), Some(self.job_id.clone())),
            ("trace ID", data.trace_id.as_deref(), Some(self.secret.clone())),
        ];
        for (which, told, expected) in ids {
            ensure!(told == expected.as_deref(), "the {which} of the {role} is {told:?} instead of {expected:?}");
        }
        let attempt = data.attempt.as_ref().map(|attempt| attempt.pod_name.clone());
        let is_own = attempt.as_ref().is_none_or(|attempt| *attempt == self.pod.name_any());
        ensure!(is_own, "the outcome of the {role} rests on the pod {attempt:?}");
        ensure!(event.id == format!("{}.final", data.job_uid), "the ID of the {role}'s notification is {}", event.id);
        let text = serde_json::to_string(event)?;
        ensure!(!text.contains(EVIL), "the notification of the {role} has foreign words: {text}");
        let told = self.told();
        ensure!(told.len() == 1, "the orchestrator was told {} times of the {role}: {told:#?}", told.len());
        ensure!(received.deliveries == 1, "the {role}'s notification was delivered {} times", received.deliveries);
        let within = if ending == Ending::LosesItsNode { RECOVERY } else { SOON };
        let gone = wait::until_gone::<Job>(client, namespace, JOB, within).await;
        gone.with_context(|| format!("the Job of the {role} after its retention"))?;
        Ok(received.at.saturating_duration_since(known))
    }

    /// Returns when Kubernetes knew of the end, or when the node crashed.
    async fn bring_about(&self, ending: Ending, node: Option<&LeasedNode>) -> anyhow::Result<Instant> {
        let (client, namespace) = (&self.environment.client, self.namespace.name());
        match ending {
            Ending::Succeeds => {
                self.environment.finish(namespace, &self.pod).await?;
                wait::until_job(client, namespace, JOB, "Complete", SOON).await?;
            }
            Ending::IsDeleted => {
                let jobs = Api::<Job>::namespaced(client.clone(), namespace);
                jobs.delete(JOB, &DeleteParams::background()).await.map(drop)?;
            }
            Ending::LosesItsPod => {
                let pods = Api::<Pod>::namespaced(client.clone(), namespace);
                pods.delete(&self.pod.name_any(), &DeleteParams::default()).await.map(drop)?;
                wait::until_job(client, namespace, JOB, "Failed", SOON).await?;
            }
            Ending::LosesItsNode => {
                let crashing = Instant::now();
                self.environment.cluster.crash(node.context("the node was not leased")?.name()).await?;
                return Ok(crashing);
            }
        }
        Ok(Instant::now())
    }

    /// That its secret is not part of what somebody was shown.
    pub(super) fn is_hidden_in(&self, shown: &str) -> anyhow::Result<()> {
        let around = shown.find(&self.secret).map(|at| {
            let (from, to) = (shown.floor_char_boundary(at.saturating_sub(200)), shown.floor_char_boundary(at + 200));
            &shown[from..to]
        });
        ensure!(
            around.is_none(),
            "the attacker was shown something of the {}: … {} …",
            self.role,
            around.unwrap_or_default()
        );
        Ok(())
    }

    /// What the orchestrator was told of its namespace.
    fn told(&self) -> Vec<String> {
        self.environment.receiver.picked(|received| {
            let data = &received.event.data;
            let is_own = data.namespace == self.namespace.name()
                || Some(data.job_uid.as_str()) == self.job.metadata.uid.as_deref();
            is_own.then(|| format!("{} {} {}: {}", received.event.id, data.kind, data.reason, data.message))
        })
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// An object without what every write changes.
fn lasting(object: &impl Serialize) -> anyhow::Result<Value> {
    let mut object = serde_json::to_value(object)?;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
    }
    Ok(object)
}

/// Paths that differ, with both values.
fn differences(before: &Value, now: &Value) -> Vec<String> {
    let (Value::Object(left), Value::Object(right)) = (before, now) else {
        return if before == now { Vec::new() } else { vec![format!(": {before} became {now}")] };
    };
    let added = right.keys().filter(|key| !left.contains_key(*key));
    let keys = left.keys().chain(added);
    let nested = |key: &String| {
        differences(&before[key.as_str()], &now[key.as_str()])
            .into_iter()
            .map(move |it| format!(".{key}{it}"))
            .collect::<Vec<_>>()
    };
    keys.flat_map(nested).collect()
}
