//! Pods and Jobs that claim to belong to another tenant's Job.

use jobwarden_common::names::{label, label_value};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::SOON;
use jobwarden_tests::install::HOME;
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use anyhow::{Context as _, ensure};

use super::attacker::{Attacker, EVIL, HOLD, Target, job, pod, short, until};

fn owner(target: &Target, kind: &str, controller: bool) -> Value {
    json!([{
        "apiVersion": "batch/v1",
        "kind": kind,
        "name": target.job,
        "uid": target.job_uid,
        "controller": controller,
        "blockOwnerDeletion": true
    }])
}

/// The labels that the Job controller gives to the victim's pods, and jobwarden's own.
fn labels(target: &Target) -> Value {
    json!({
        label::ENROLLED: label_value::TRUE,
        label::CONTROLLER_UID: target.job_uid,
        label::LEGACY_CONTROLLER_UID: target.job_uid,
        label::JOB_NAME: target.job,
        "jobwarden.io/run-id": target.run_id,
    })
}

/// Its end, and the words in it, would be the latest of all attempts of the victim's Job.
pub(super) async fn failing_child(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let name = format!("{EVIL}-child");
    let target = &attacker.target;
    let mut forged = pod(
        &short(&name).argument(format!("--{EVIL}=the disk is corrupt")),
        &json!({
            "metadata": {"labels": labels(target), "ownerReferences": owner(target, "Job", true), "finalizers": [HOLD]},
        }),
    )?;
    forged["spec"]["containers"][0]["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    attacker.create::<Pod>(forged).await.context("creating the forged pod")?;
    // The garbage collector finds no such owner in this namespace and deletes it; the finalizer keeps it in sight.
    let ended = |pod: Option<&Pod>| {
        let phase = pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref());
        phase == Some("Failed") || pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some())
    };
    wait::until::<Pod>(&attacker.client, attacker.namespace(), &name, SOON, "ended", ended).await?;
    attacker.run_through().await
}

pub(super) async fn labels_alone(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let name = format!("{EVIL}-labelled");
    let forged = pod(&short(&name).argument("--exit=7"), &json!({"metadata": {"labels": labels(&attacker.target)}}))?;
    attacker.create::<Pod>(forged).await.context("creating the labelled pod")?;
    let failed = |pod: Option<&Pod>| pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some("Failed");
    wait::until::<Pod>(&attacker.client, attacker.namespace(), &name, SOON, "failed", failed).await?;
    attacker.run_through().await?;
    let told = attacker.environment.receiver.about(attacker.namespace(), &name);
    ensure!(told.is_empty(), "a pod that is neither a Job's nor opted in was reported: {told:#?}");
    Ok(())
}

pub(super) async fn blocking_dependents(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let target = &attacker.target;
    let changes = json!({"metadata": {"ownerReferences": owner(target, "Job", false), "finalizers": [HOLD]}});
    let name = format!("{EVIL}-dependent");
    attacker.create::<Pod>(pod(&short(&name), &changes)?).await.context("creating the dependent pod")?;
    let changes = json!({"metadata": {"ownerReferences": owner(target, "Job", false)}});
    attacker.submit(&short(&format!("{EVIL}-dependent-job")).suspended(), &changes).await?;
    attacker.run_through().await
}

/// The garbage collector deletes it, because its owner is not in its namespace. That is reported of the attacker's namespace.
pub(super) async fn child_of_a_foreign_cron_job(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let name = format!("{EVIL}-scheduled");
    let changes = json!({"metadata": {"ownerReferences": owner(&attacker.target, "CronJob", true)}});
    attacker.submit(&short(&name).suspended(), &changes).await?;
    let data = attacker.told(&name).await?.event.data;
    ensure!(data.kind == OutcomeKind::Deleted, "the Job that its owner deleted is reported as {data:#?}");
    wait::until_gone::<Job>(&attacker.client, attacker.namespace(), &name, SOON).await
}

pub(super) async fn selector_of_the_victims_pods(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let name = format!("{EVIL}-selector");
    let labels = json!({label::CONTROLLER_UID: attacker.target.job_uid, label::JOB_NAME: attacker.target.job});
    let changes = json!({
        "spec": {
            "manualSelector": true,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}}
        }
    });
    attacker.create::<Job>(job(&short(&name), &changes)?).await.context("creating the Job with a selector")?;
    let data = attacker.told(&name).await?.event.data;
    ensure!(data.kind == OutcomeKind::Succeeded, "its own outcome is {data:#?}");
    Ok(())
}

/// The Service of the reaper selects by them.
pub(super) async fn labels_of_the_leader(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let changes = json!({"metadata": {"labels": {
        label::ROLE: label_value::LEADER,
        "app.kubernetes.io/name": "jobwarden-reaper",
        "app.kubernetes.io/part-of": "jobwarden",
    }}});
    let name = format!("{EVIL}-leader");
    let created = attacker.create::<Pod>(pod(&short(&name), &changes)?).await.context("creating the pod")?;
    ensure!(created.labels().get(label::ROLE).is_some(), "the label of a role is not kept on pods of others");
    attacker.run_through().await
}

/// It passes the scheduler by, and its processes are children with the command line of every worker.
pub(super) async fn bound_by_hand(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let name = format!("{EVIL}-static");
    let changes = json!({
        "metadata": {"labels": {label::INJECT: label_value::TRUE, "jobwarden.io/run-id": attacker.target.run_id}},
        "spec": {"nodeName": HOME, "affinity": null, "hostname": attacker.target.pod}
    });
    let forged = pod(&short(&name).argument("--children=5"), &changes)?;
    attacker.create::<Pod>(forged).await.context("creating the pod")?;
    let data = attacker.told(&name).await?.event.data;
    ensure!(data.is_of_bare_pod() && data.kind == OutcomeKind::Succeeded, "its own outcome is {data:#?}");
    // Only now is its node free of it.
    until("the pod has ended", async || {
        let pod = attacker.own::<Pod>().get_opt(&name).await?;
        Ok(pod.is_none_or(|pod| pod.status.and_then(|status| status.phase).as_deref() == Some("Succeeded")))
    })
    .await
}
