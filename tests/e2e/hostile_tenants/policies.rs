//! Annotations and numbers by which one tenant could hold back, crowd out or crash what all share.

use anyhow::{Context as _, ensure};
use jobwarden_common::names::annotation;
use jobwarden_tests::environment::SOON;
use jobwarden_tests::install::NAMESPACE;
use jobwarden_tests::job::Worker;
use jobwarden_tests::metrics;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Map, Value, json};

use super::attacker::{Attacker, EVIL, short, until};
use crate::ports::{MEMORY_LIMIT_KIB, rss_kib};

/// Pending Jobs, as many as all others together.
const PENDING: usize = 25;

/// Jobs that are made and deleted.
const CHURN: usize = 60;

/// Jobs of nearly the greatest size that the API server stores.
const FAT: usize = 8;

/// Labels of each of them: with their values and `managedFields` about 700 kB.
const LABELS: usize = 8_000;

/// How many Jobs of the attacker have had their last notification.
fn ended(attacker: &Attacker<'_>) -> usize {
    let is_end = |namespace: &str, is_final: bool| (namespace == attacker.namespace() && is_final).then_some(());
    attacker.environment.receiver.picked(|it| is_end(&it.event.data.namespace, it.event.data.kind.is_final())).len()
}

fn named(number: usize) -> String {
    format!("{EVIL}-{number}")
}

/// They are lost after two seconds for want of a node, and their own warm-up never ends.
pub(super) async fn patience_for_ever(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let nowhere = json!({"spec": {"template": {"spec": {"affinity": null, "nodeSelector": {"no": "such-node"}}}}});
    for number in 0..PENDING {
        // Those that are only reported stay pending, and lost.
        let on_lost = if number % 2 == 0 { "retry" } else { "report" };
        let worker = Worker::new(&named(number), 1, SOON)
            .annotation(annotation::UNSCHEDULED_TIMEOUT, "2s")
            .annotation(annotation::LOST_AFTER, "3650d")
            .annotation(annotation::ON_LOST, on_lost);
        attacker.submit(&worker, &nowhere).await?;
    }
    until("its lost Jobs are reported", async || Ok(ended(attacker) >= PENDING.div_ceil(2))).await
}

pub(super) async fn extreme_annotations(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    const DURATIONS: [&str; 9] = [
        annotation::LOST_AFTER,
        annotation::SUSPECT_AFTER,
        annotation::START_TIMEOUT,
        annotation::UNSCHEDULED_TIMEOUT,
        annotation::ACTIVE_TIMEOUT,
        annotation::STALL_AFTER,
        annotation::INIT_TIMEOUT,
        annotation::STRANDED_AFTER,
        annotation::RETENTION,
    ];
    const CHOICES: [&str; 7] = [
        annotation::ON_LOST,
        annotation::UNSEEN,
        annotation::NOT_STARTING,
        annotation::ON_CONTAINER_EXIT,
        annotation::NOTIFY_LATE,
        annotation::INCLUDE_LOGS,
        annotation::ON_FAILURE,
    ];
    let (long_duration, long_choice) = (format!("{}s", "9".repeat(8_000)), "\n".repeat(8_000));
    let values = [
        (&*long_duration, &*long_choice),
        ("0s", "true"),
        ("18446744073709551615s", "fail"),
        ("1000000000000000000h", ""),
        ("-5m", "FAIL\n"),
        ("NaN", "🦀"),
        ("never", "1e400"),
    ];
    for (number, (duration, choice)) in values.into_iter().enumerate() {
        let mut worker = short(&named(number))
            .annotation(annotation::SIDECAR_CPU, &format!("{duration}000000"))
            .annotation(annotation::SIDECAR_MEMORY, "9223372036854775807Gi");
        for key in DURATIONS {
            worker = worker.annotation(key, duration);
        }
        for key in CHOICES {
            worker = worker.annotation(key, choice);
        }
        attacker.submit(&worker, &json!({})).await.with_context(|| format!("with the values of number {number}"))?;
    }
    until("each of its Jobs is reported", async || Ok(ended(attacker) >= values.len())).await
}

pub(super) async fn extreme_numbers(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let most = i32::MAX;
    let specs = [
        json!({"parallelism": most, "completions": most, "backoffLimit": most, "ttlSecondsAfterFinished": most}),
        json!({"parallelism": most, "completions": null, "activeDeadlineSeconds": i64::MAX}),
        json!({"parallelism": 0, "completions": 0, "backoffLimit": 0, "ttlSecondsAfterFinished": 0}),
        json!({
            "completionMode": "Indexed",
            "completions": 10_000,
            "parallelism": 100,
            "backoffLimit": null,
            "backoffLimitPerIndex": 10_000,
            "maxFailedIndexes": 10_000
        }),
    ];
    for (number, spec) in specs.iter().enumerate() {
        attacker.submit(&short(&named(number)).suspended(), &json!({ "spec": spec })).await?;
    }
    let notes = json!({"metadata": {"annotations": {
        "batch.kubernetes.io/job-index-failure-count": "4294967295",
        "batch.kubernetes.io/job-index-ignored-failure-count": "4294967295"
    }}});
    let annotated = format!("{EVIL}-annotated");
    attacker.submit(&short(&annotated), &json!({"spec": {"template": notes}})).await?;
    attacker.told(&annotated).await?;
    for number in 0..specs.len() {
        // One with nothing to do may be gone already.
        match attacker.own::<Job>().delete(&named(number), &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            deleted => deleted.map(drop).context("deleting its own Job")?,
        }
    }
    until("each of its Jobs is reported", async || Ok(ended(attacker) > specs.len())).await
}

pub(super) async fn fat_jobs(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let leader = metrics::leader(&attacker.environment.client).await?.name_any();
    let pids = attacker.environment.cluster.processes_in(NAMESPACE, &leader, "reaper").await?;
    let pid = *pids.first().context("the leader has no process")?;
    let labels: Map<_, _> = (0..LABELS).map(|number| (format!("a{number}"), Value::from("v".repeat(50)))).collect();
    let fat = json!({"metadata": {"labels": labels, "annotations": {"note": "x".repeat(200 * 1024)}}});
    for number in 0..FAT {
        attacker.submit(&short(&named(number)).suspended(), &fat).await?;
    }
    attacker.run_through().await?;
    let rss = rss_kib(pid)?;
    ensure!(rss < MEMORY_LIMIT_KIB / 2, "the reaper uses {rss} KiB");
    for number in 0..FAT {
        attacker
            .own::<Job>()
            .delete(&named(number), &DeleteParams::background())
            .await
            .context("deleting its own Job")?;
    }
    until("each of its Jobs is reported", async || Ok(ended(attacker) > FAT)).await
}

/// Each of them is an outcome that outlives its Job. `shares.rs` floods beyond the share of a namespace.
pub(super) async fn churn(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let jobs = attacker.own::<Job>();
    for number in 0..CHURN {
        attacker.submit(&short(&named(number)).suspended(), &json!({})).await?;
        jobs.delete(&named(number), &DeleteParams::background()).await.context("deleting its own Job")?;
    }
    until("each of its Jobs is reported", async || Ok(ended(attacker) >= CHURN)).await?;
    // A notification may arrive before the finalizer of its Job is removed.
    until("none of its Jobs is left behind", async || Ok(jobs.list(&ListParams::default()).await?.items.is_empty()))
        .await
}
