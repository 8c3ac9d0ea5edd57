//! What people see of a verdict: Events on the Job, and `jobwarden explain`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{annotation, reason};
use jobwarden_tests::environment::{ENDLESS, Environment, RECOVERY, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{reaper_api, wait};
use k8s_openapi::api::batch::v1::Job;
use kube::Api;

pub(crate) async fn suspicion_loss_and_recovery_of_a_worker_are_events_on_its_job(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let node = environment.lease_node().await?;
    let namespace = environment.enrolled_namespace("events").await?;
    // The policy only reports the loss, so that the worker can recover; and the agent's last report is stale well before.
    let lost_after = Duration::from_mins(1);
    let worker = Worker::new("watched", 8, ENDLESS)
        .on_node(node.name())
        .annotation(annotation::LOST_AFTER, &format!("{}s", lost_after.as_secs()))
        .annotation(annotation::ON_LOST, "report");
    environment.submit(namespace.name(), &worker).await?;
    wait::until_running(&environment.client, namespace.name(), "watched", &[], SOON).await?;
    reaper_api::until_reported_alive(&environment.client, namespace.name(), "watched", SOON).await?;
    environment.cluster.partition(node.name()).await?;
    wait_for_event(environment, namespace.name(), "watched", reason::SUSPECT, SOON).await?;
    wait_for_event(environment, namespace.name(), "watched", reason::NODE_UNREACHABLE, lost_after + SOON).await?;
    environment.cluster.heal(node.name()).await?;
    wait_for_event(environment, namespace.name(), "watched", reason::HEARTBEAT_RESUMED, SOON).await?;
    let job = Api::<Job>::namespaced(environment.client.clone(), namespace.name()).get("watched").await?;
    ensure!(wait::reason_of(Some(&job), "FailureTarget").is_none(), "{:?}", job.status);
    environment.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
    Ok(())
}

pub(crate) async fn an_explanation_shows_row_timers_and_the_origin_of_each_policy(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("explain").await?;
    let worker = Worker::new("explained", 4, ENDLESS).on_node(HOME).annotation(annotation::LOST_AFTER, "47s");
    environment.submit(namespace.name(), &worker).await?;
    wait::until_running(&environment.client, namespace.name(), "explained", &[], SOON).await?;
    reaper_api::until_reported_alive(&environment.client, namespace.name(), "explained", SOON).await?;

    let text = environment.jobwarden(&["explain", &format!("{}/explained", namespace.name())]).await?;
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = text.lines().map(words).collect();
    let has = |start: &str, end: &str| lines.iter().any(|line| line.starts_with(start) && line.contains(end));
    for (start, end) in [
        ("Job ", "/explained: alive (P7: "),
        ("beat fresh, last ", " ago"),
        ("agent alive, ", " ago"),
        ("lease fresh, ", " ago"),
        // The verdicts that silence would lead to, and when.
        ("in ", ": suspect (P10: "),
        ("in ", ": lost, NodeUnreachable (P8: "),
        ("lost-after 47s ", "annotation of the Job"),
        ("suspect-after 10s ", ""),
    ] {
        ensure!(has(start, end), "no line begins with {start:?} and contains {end:?}:\n{text}");
    }
    Ok(())
}

/// Waits until `kubectl get events` shows an Event with this reason on the Job.
async fn wait_for_event(
    environment: &Environment,
    namespace: &str,
    job: &str,
    reason: &str,
    within: Duration,
) -> anyhow::Result<()> {
    let give_up = Instant::now() + within;
    let arguments = [
        "get".to_owned(),
        "events".to_owned(),
        format!("--namespace={namespace}"),
        format!("--field-selector=involvedObject.kind=Job,involvedObject.name={job}"),
        "--output=jsonpath={.items[*].reason}".to_owned(),
    ];
    loop {
        let shown = environment.cluster.kubectl(arguments.clone()).await.context("reading Events")?;
        if shown.split_whitespace().any(|shown| shown == reason) {
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "no Event {reason} on Job {namespace}/{job}; found: {shown}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
