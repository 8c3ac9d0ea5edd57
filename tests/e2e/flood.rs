//! A tenant that makes more Jobs than anybody should: at most its share is recorded, the reaper stays small, and nobody else waits.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jobwarden_common::names::reason;
use jobwarden_common::notification::{OutcomeData, OutcomeKind};
use jobwarden_tests::environment::{ENDLESS, Environment, RECOVERY, SOON};
use jobwarden_tests::install::NAMESPACE;
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{metrics, reaper_config, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};

/// How many Jobs the tenant makes and deletes; `JOBWARDEN_FLOOD=10000` is what it has to be on a machine that can take it.
const FLOOD: &str = "JOBWARDEN_FLOOD";
/// The same without it.
const SAMPLE: usize = 1_000;
/// How many requests the tenant has in flight.
const AT_ONCE: usize = 32;
/// The share of a namespace in an hour, by the chart's values; the namespace of a sample gets as much less as the sample is smaller.
const SHARE: usize = 3_000;
/// What a flood of 10,000 has to be made in.
const WITHIN: Duration = Duration::from_mins(1);
/// How long another tenant may wait for its outcome.
const DELIVERED: Duration = Duration::from_secs(5);
/// The reaper's memory limit in the chart.
const LIMIT_KIB: u64 = 512 * 1024;

pub(crate) async fn suspended_jobs_made_and_deleted_in_a_minute_cost_one_tenants_share(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let flood: usize = std::env::var(FLOOD).ok().and_then(|text| text.parse().ok()).unwrap_or(SAMPLE);
    let share = SHARE * flood.min(10_000) / 10_000;
    let (tenant, bystander) =
        (environment.enrolled_namespace("flood").await?, environment.enrolled_namespace("bystander").await?);
    let quiet: Vec<_> = (0..5).map(|number| format!("quiet-{number}")).collect();
    for name in &quiet {
        environment.submit(bystander.name(), &Worker::new(name, 1, ENDLESS).suspended()).await?;
    }
    let before = reaper_config::read(&environment.client).await?;
    let limited = before
        .replace("namespaces: {}\n    perHour", &format!("namespaces: {{{}: {share}}}\n    perHour", tenant.name()));
    ensure!(limited != before, "{before}");
    reaper_config::replace(&environment.client, &limited).await?;

    let leader = metrics::leader(&environment.client).await?.name_any();
    let pids = environment.cluster.processes_in(NAMESPACE, &leader, "reaper").await?;
    let pid = *pids.first().context("the leader has no process")?;
    // Outcomes of the bystander are asked for throughout the flood.
    let pause = WITHIN.mul_f64(flood as f64 / 80_000.0);
    let (mut most_kib, mut slowest) = (0, Duration::ZERO);
    let jobs = Api::<Job>::namespaced(environment.client.clone(), tenant.name());
    let started = Instant::now();
    let flooding = async {
        let make = |number: usize| {
            let (jobs, tenant) = (&jobs, tenant.name());
            async move {
                let name = format!("flood-{number}");
                environment.submit(tenant, &Worker::new(&name, 1, ENDLESS).suspended()).await?;
                jobs.delete(&name, &DeleteParams::background()).await.context("deleting a Job")?;
                anyhow::Ok(())
            }
        };
        stream::iter(0..flood).map(make).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
        anyhow::Ok(started.elapsed())
    };
    let others = Api::<Job>::namespaced(environment.client.clone(), bystander.name());
    let watching = async {
        for name in &quiet {
            tokio::time::sleep(pause).await;
            let deleted = Instant::now();
            others.delete(name, &DeleteParams::background()).await?;
            environment.receiver.wait_for(bystander.name(), name, SOON, |event| event.data.kind.is_final()).await?;
            slowest = slowest.max(deleted.elapsed());
            most_kib = most_kib.max(rss_kib(pid)?);
        }
        anyhow::Ok(())
    };
    let (took, ()) = tokio::try_join!(flooding, watching)?;

    // Every Job goes, and every one is told of: by itself, or in a count.
    let give_up = Instant::now() + RECOVERY + SOON;
    loop {
        let left = jobs.list_metadata(&ListParams::default().limit(1)).await?.items.len();
        let (alone, together) = told(environment, tenant.name());
        most_kib = most_kib.max(rss_kib(pid)?);
        if left == 0 && alone + together >= flood {
            // As many Jobs as are evaluated at once may pass before the share counts them.
            let recorded = alone + notices(environment, tenant.name()).len();
            ensure!(recorded <= share + AT_ONCE, "{recorded} outcomes were recorded, of a share of {share}");
            let told = coalesced_events(environment, tenant.name()).await?;
            ensure!(told >= flood - alone, "{told} Events for {} coalesced outcomes", flood - alone);
            break;
        }
        ensure!(Instant::now() < give_up, "Jobs are left, or not told of: {alone} alone and {together} together");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    reaper_config::replace(&environment.client, &before).await?;
    ensure!(slowest <= DELIVERED, "an outcome of the bystander took {slowest:?}");
    ensure!(most_kib <= LIMIT_KIB, "the reaper had {most_kib} KiB");
    ensure!(metrics::leader(&environment.client).await?.name_any() == leader, "the leader has changed");
    ensure!(flood < 10_000 || took <= WITHIN * 2, "the flood took {took:?}, which is no flood");
    Ok(())
}

/// How many Jobs a namespace has, and how many of them are followed.
const JOBS: usize = 30;
const FOLLOWED: usize = 10;

pub(crate) async fn jobs_beyond_the_limit_are_told_of_and_taken_up_when_others_are_gone(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let tenant = environment.enrolled_namespace("many").await?;
    let before = reaper_config::read(&environment.client).await?;
    let unlimited = "followed: 20000\n    namespaces: {}";
    let limited =
        before.replace(unlimited, &format!("followed: 20000\n    namespaces: {{{}: {FOLLOWED}}}", tenant.name()));
    ensure!(limited != before, "{before}");
    reaper_config::replace(&environment.client, &limited).await?;

    let jobs = Api::<Job>::namespaced(environment.client.clone(), tenant.name());
    let name = |number: usize| format!("many-{number}");
    for number in 0..JOBS {
        environment.submit(tenant.name(), &Worker::new(&name(number), 1, ENDLESS).suspended()).await?;
    }
    until_unfollowed(environment, tenant.name(), JOBS - FOLLOWED).await?;
    let told = notices(environment, tenant.name());
    ensure!(!told.is_empty(), "nobody is told that Jobs are not followed");

    // One that is not followed is deleted: it is told of, and not held.
    let last = name(JOBS - 1);
    jobs.delete(&last, &DeleteParams::background()).await?;
    wait::until_gone::<Job>(&environment.client, tenant.name(), &last, RECOVERY).await?;
    let by_name = |data: &OutcomeData| {
        let mut of = data.coalesced.iter().flat_map(|coalesced| &coalesced.jobs);
        of.any(|job| job.job_name == last && job.reason == reason::JOB_DELETED)
    };
    let give_up = Instant::now() + SOON;
    while !notices(environment, tenant.name()).iter().any(by_name) {
        ensure!(Instant::now() < give_up, "nobody is told that {last} was deleted");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    // Others make room: those that are left are followed, and each is told of by itself.
    for number in 0..JOBS - FOLLOWED {
        jobs.delete(&name(number), &DeleteParams::background()).await?;
    }
    until_unfollowed(environment, tenant.name(), 0).await?;
    let taken_up = name(JOBS - 2);
    jobs.delete(&taken_up, &DeleteParams::background()).await?;
    environment.receiver.wait_for(tenant.name(), &taken_up, SOON, |event| event.data.kind.is_final()).await?;
    reaper_config::replace(&environment.client, &before).await
}

/// The coalesced outcomes of a namespace.
fn notices(environment: &Environment, namespace: &str) -> Vec<OutcomeData> {
    environment.receiver.picked(|received| {
        let data = &received.event.data;
        (data.namespace == namespace && data.kind == OutcomeKind::Coalesced).then(|| data.clone())
    })
}

/// How many outcomes of a namespace arrived alone, and how many in coalesced ones.
fn told(environment: &Environment, namespace: &str) -> (usize, usize) {
    let together = notices(environment, namespace).iter().flat_map(|data| &data.coalesced).map(|it| it.count).sum();
    let alone = environment.receiver.picked(|received| {
        let data = &received.event.data;
        (data.namespace == namespace && data.kind != OutcomeKind::Coalesced).then_some(())
    });
    (alone.len(), together)
}

/// How many Events say that the outcome of a Job was coalesced.
async fn coalesced_events(environment: &Environment, namespace: &str) -> anyhow::Result<usize> {
    let events = Api::<Event>::namespaced(environment.client.clone(), namespace);
    let events = events.list(&ListParams::default()).await.context("listing Events")?.items;
    Ok(events.iter().filter(|event| event.reason.as_deref() == Some(reason::OUTCOMES_COALESCED)).count())
}

/// Waits until so many Jobs of a namespace are not followed.
async fn until_unfollowed(environment: &Environment, namespace: &str, wanted: usize) -> anyhow::Result<()> {
    let give_up = Instant::now() + RECOVERY + SOON;
    loop {
        let leader = metrics::leader(&environment.client).await?.name_any();
        let shown = metrics::read(&environment.client, &leader).await?;
        let unfollowed = metrics::sum(&shown, "jobwarden_jobs_not_followed", &format!("namespace=\"{namespace}\""));
        if (unfollowed - wanted as f64).abs() < 0.5 {
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "{unfollowed} Jobs of {namespace} are not followed, instead of {wanted}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The resident memory of a process (`VmRSS` of proc(5)).
fn rss_kib(pid: i32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("reading the status of the leader")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the leader has exited")?;
    line.trim().trim_end_matches(" kB").parse().context("parsing VmRSS")
}
