//! What people are shown of a judgement: Events on the Job, and `jobwarden explain`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{annotation, reason};
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::{ENDLESS, Ground, RECOVERY, SOON};
use jobwarden_tests::install::{self, HOME};
use jobwarden_tests::job::Worker;
use jobwarden_tests::{reaper, wait};
use k8s_openapi::api::batch::v1::Job;
use kube::Api;

use crate::Outcome;

pub(crate) async fn suspicion_loss_and_return_of_a_worker_are_events_on_its_job(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let node = ground.lease_node().await?;
    let namespace = ground.enrolled_namespace("events").await?;
    // Nothing is done about its loss, so that it is there to come back; and the agent's last word is old well before it.
    let lost_after = Duration::from_mins(1);
    let worker = Worker::new("watched", 8, ENDLESS)
        .on_node(node.name())
        .annotation(annotation::LOST_AFTER, &format!("{}s", lost_after.as_secs()))
        .annotation(annotation::ON_LOST, "report");
    ground.submit(namespace.name(), &worker).await?;
    wait::until_running(&ground.client, namespace.name(), "watched", &[], SOON).await?;
    reaper::until_heard(&ground.client, namespace.name(), "watched", SOON).await?;
    ground.cluster.partition(node.name()).await?;
    shown(ground, namespace.name(), "watched", reason::SUSPECT, SOON).await?;
    shown(ground, namespace.name(), "watched", reason::NODE_UNREACHABLE, lost_after + SOON).await?;
    ground.cluster.heal(node.name()).await?;
    shown(ground, namespace.name(), "watched", reason::HEARTBEAT_RESUMED, SOON).await?;
    let job = Api::<Job>::namespaced(ground.client.clone(), namespace.name()).get("watched").await?;
    ensure!(wait::reason_of(Some(&job), "FailureTarget").is_none(), "{:?}", job.status);
    ground.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
    Ok(())
}

pub(crate) async fn a_job_is_explained_by_row_timers_and_policy_with_its_origin(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("explain").await?;
    let worker = Worker::new("asked", 4, ENDLESS).on_node(HOME).annotation(annotation::LOST_AFTER, "47s");
    ground.submit(namespace.name(), &worker).await?;
    wait::until_running(&ground.client, namespace.name(), "asked", &[], SOON).await?;
    reaper::until_heard(&ground.client, namespace.name(), "asked", SOON).await?;

    let mut command = ground.cluster.program(install::program("jobwarden")?);
    command.args(["explain", &format!("{}/asked", namespace.name())]);
    let output = tokio::process::Command::from(command).output().await.context("running the program")?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("an explanation is text")?;
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = text.lines().map(words).collect();
    let has = |start: &str, end: &str| lines.iter().any(|line| line.starts_with(start) && line.contains(end));
    for (start, end) in [
        ("Job ", "/asked: alive (P7: "),
        ("beat fresh, last ", " ago"),
        ("agent alive, ", " ago"),
        ("lease fresh, ", " ago"),
        // What its silence would come to, and when.
        ("in ", ": suspect (P10: "),
        ("in ", ": lost, NodeUnreachable (P8: "),
        ("lost-after 47s ", "annotation of the Job"),
        ("suspect-after 10s ", ""),
    ] {
        ensure!(has(start, end), "no line begins with {start:?} and has {end:?}:\n{text}");
    }
    Ok(())
}

/// Waits until `kubectl get events` has one with this reason on the Job.
async fn shown(ground: &Ground, namespace: &str, job: &str, reason: &str, within: Duration) -> Outcome {
    let give_up = Instant::now() + within;
    let arguments = [
        "get".to_owned(),
        "events".to_owned(),
        format!("--namespace={namespace}"),
        format!("--field-selector=involvedObject.kind=Job,involvedObject.name={job}"),
        "--output=jsonpath={.items[*].reason}".to_owned(),
    ];
    loop {
        let shown = ground.cluster.kubectl(arguments.clone()).await.context("reading Events")?;
        if shown.split_whitespace().any(|shown| shown == reason) {
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "no Event {reason} on {namespace}/{job}; there are: {shown}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
