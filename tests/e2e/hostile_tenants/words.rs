//! IDs, messages and names: what a tenant writes is data of its own namespace, whoever reads it and wherever it is shown.

use anyhow::{Context as _, ensure};
use jobwarden_common::identity::{JobId, RunId, label_value};
use jobwarden_common::names::{annotation, label};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::install::NAMESPACE;
use jobwarden_tests::metrics;
use jobwarden_tests::shared_cluster::SharedCluster;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::attacker::{Attacker, EVIL, job, refused, short};

/// A word that no namespace has in its name, so that it shows where words of a tenant get to.
const WORD: &str = "evil-word";

/// The longest ID that is kept, in bytes.
const LONGEST_ID: usize = 1024;

/// The longest message of a container that is kept, in bytes.
const LONGEST_MESSAGE: usize = 512;

/// The longest line that the reaper logs, in bytes.
const LONGEST_LINE: usize = 16 * 1024;

pub(super) async fn the_victims_ids(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let target = &attacker.target;
    let ids = json!({label::RUN_ID: target.run_id, label::JOB_ID: target.job_id});
    let name = format!("{EVIL}-same-ids");
    let changes = json!({"metadata": {"labels": ids, "annotations": ids}});
    attacker.submit(&short(&name).argument("--exit=1"), &changes).await?;
    let event = attacker.told(&name).await?.event;
    let data = &event.data;
    ensure!(data.kind == OutcomeKind::Failed, "its own outcome is {data:#?}");
    // An ID counts within its namespace.
    ensure!(data.run_id.as_ref().is_some_and(|id| id.as_str() == target.run_id), "its own run ID is {:?}", data.run_id);
    ensure!(data.namespace == attacker.namespace(), "the notification names the namespace {}", data.namespace);
    ensure!(event.subject == format!("{}/{name}", data.namespace), "the notification is about {}", event.subject);
    Ok(())
}

pub(super) async fn ids_that_break_lines(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let run = format!("{WORD}\r\nwebhook-id: 1\r\n\r\n{{\"level\":\"ERROR\"}}\n\u{1b}[2J\u{202e}<script>ü🦀");
    let (job_id, trace) =
        (format!("{WORD}\",\"kind\":\"succeeded\",\"x\":\""), format!("{WORD}\u{85}\u{2028}'; DROP TABLE"));
    let name = format!("{EVIL}-lines");
    let worker = short(&name)
        .annotation(annotation::RUN_ID, &run)
        .annotation(annotation::JOB_ID, &job_id)
        .annotation(annotation::TRACE_ID, &trace);
    let created = attacker.submit(&worker, &json!({})).await?;
    let labelled = created.labels().get(label::RUN_ID);
    ensure!(labelled.is_some_and(|value| **value == *label_value(&run)), "the label of the run ID is {labelled:?}");
    let data = attacker.told(&name).await?.event.data;
    let told =
        [data.run_id.as_ref().map(RunId::as_str), data.job_id.as_ref().map(JobId::as_str), data.trace_id.as_deref()];
    ensure!(told == [Some(&*run), Some(&*job_id), Some(&*trace)], "its IDs are {told:?}");
    Ok(())
}

pub(super) async fn ids_beyond_their_bound(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let id = |length: usize| format!("{WORD}{}", "x".repeat(length - WORD.len()));
    let name = |length: usize| format!("{EVIL}-{length}");
    let lengths = [63, LONGEST_ID, LONGEST_ID + 1, 100_000];
    for length in lengths {
        attacker.submit(&short(&name(length)).annotation(annotation::RUN_ID, &id(length)), &json!({})).await?;
    }
    for length in lengths {
        let told = attacker.told(&name(length)).await?.event.data.run_id;
        let expected = (length <= LONGEST_ID).then(|| id(length));
        ensure!(told.as_ref().map(RunId::as_str) == expected.as_deref(), "an ID of {length} bytes is told as {told:?}");
    }
    Ok(())
}

pub(super) async fn ids_changed_later(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let target = &attacker.target;
    let name = format!("{EVIL}-changed");
    let worker = short(&name).annotation(annotation::RUN_ID, WORD).suspended();
    attacker.submit(&worker, &json!({})).await?;
    for metadata in [
        json!({"annotations": {annotation::RUN_ID: target.run_id}}),
        json!({"annotations": {annotation::JOB_ID: target.job_id}}),
        json!({"annotations": {annotation::RUN_ID: null}}),
        json!({"annotations": {annotation::TRACE_ID: "0af7651916cd43dd8448eb211c80319c"}}),
        json!({"labels": {label::RUN_ID: target.run_id}}),
        json!({"labels": {label::JOB_ID: null}}),
    ] {
        // A patch that changes nothing is no change.
        let before = attacker.own::<Job>().get(&name).await?;
        let answer = attacker.patch::<Job>(&name, &json!({"metadata": metadata})).await;
        let is_same = answer
            .as_ref()
            .is_ok_and(|after| (after.labels(), after.annotations()) == (before.labels(), before.annotations()));
        if !is_same {
            refused(&format!("the patch {metadata}"), &[403], answer)?;
        }
    }
    attacker.patch::<Job>(&name, &json!({"spec": {"suspend": false}})).await.context("resuming its own Job")?;
    let told = attacker.told(&name).await?.event.data.run_id;
    ensure!(told.as_ref().is_some_and(|id| id.as_str() == WORD), "its run ID is told as {told:?}");
    Ok(())
}

/// Their text is the end of a log, which the kubelet takes as termination message.
pub(super) async fn messages(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let leader = metrics::leader(&attacker.environment.client).await?;
    let containers = leader.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let image = containers.iter().find_map(|container| container.image.clone()).context("the leader has no image")?;
    let markup = format!("<script>alert(1)</script>\"}},{{\"{WORD}\":\"\u{7}\u{8}\n\"level\":\"ERROR\"\r");
    let token = format!("eyJhbGciOiJub25lIn0.{}.", "QUJD".repeat(50));
    let texts = [("markup", markup), ("token", token), ("long", format!("{WORD} ").repeat(400))];
    for (name, text) in &texts {
        let name = format!("{EVIL}-{name}");
        // A program of jobwarden's own image quotes an unknown flag as it is.
        let container = json!({
            "name": "worker",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["/jobwarden-reaper", format!("--{WORD}-{text}")],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}
        });
        attacker.submit(&short(&name), &json!({"spec": {"template": {"spec": {"containers": [container]}}}})).await?;
    }
    for (name, _) in &texts {
        let event = attacker.told(&format!("{EVIL}-{name}")).await?.event;
        let data = &event.data;
        ensure!(data.kind == OutcomeKind::Failed, "its own outcome is {data:#?}");
        let message = data.cause.message.as_deref().context("the message of its container is not told")?;
        ensure!(message.len() <= LONGEST_MESSAGE, "the message has {} bytes: {message:?}", message.len());
    }
    Ok(())
}

/// The names of outcomes begin with the UID of a Job or pod, which the API server gives.
pub(super) async fn names_of_outcomes(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let target = &attacker.target;
    let names = [
        format!("{}.final", target.job_uid),
        format!("{}.attempt-failed", target.pod_uid),
        "coalesced.victim.1".to_owned(),
    ];
    for name in &names {
        let mut named = job(&short(name), &json!({}))?;
        // The name of a pod has no dots.
        named["spec"]["template"]["spec"]["hostname"] = Value::from(EVIL);
        attacker.create::<Job>(named).await.with_context(|| format!("creating the Job {name}"))?;
    }
    for name in &names {
        let event = attacker.told(name).await?.event;
        ensure!(event.id == format!("{}.final", event.data.job_uid), "the ID of its notification is {}", event.id);
        ensure!(event.data.job_uid.as_str() != target.job_uid, "it has the UID of the victim");
    }
    Ok(())
}

/// Each line of the reaper's log is one JSON object of bounded length, and metrics have no word of a tenant.
pub(super) async fn logs_and_metrics_are_well_formed(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let leader = metrics::leader(&environment.client).await?.name_any();
    let pods = Api::<Pod>::namespaced(environment.client.clone(), NAMESPACE);
    let log = pods.logs(&leader, &LogParams { since_seconds: Some(300), ..LogParams::default() }).await?;
    for line in log.lines() {
        let parsed = serde_json::from_str::<Value>(line);
        ensure!(parsed.as_ref().is_ok_and(Value::is_object), "a line of the log is no JSON object: {line:?}");
        ensure!(line.len() <= LONGEST_LINE, "a line of the log has {} bytes", line.len());
    }
    ensure!(!log.contains('\u{1b}'), "the log has an escape sequence");
    let text = metrics::read(&environment.client, &leader).await?;
    let shown = text.lines().find(|line| line.contains(WORD));
    ensure!(shown.is_none(), "a metric has words of a tenant: {shown:?}");
    Ok(())
}
