//! Certificates that change and replicas that come and go, while Jobs and pods are created.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{label, label_value, object};
use jobwarden_testbed::progress;
use jobwarden_tests::environment::Environment;
use jobwarden_tests::install::NAMESPACE;
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::other_webhooks::{pod, sidecars};

/// How many Jobs and how many pods are created at least.
const EACH: usize = 1000;

/// Time between two creations of a kind: [`EACH`] of them, while two authorities of 90 s come and go.
const PACE: Duration = Duration::from_millis(125);

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_mins(6);

/// How often each certificate has to change.
const CHANGES: usize = 2;

pub(crate) async fn nothing_fails_while_certificates_rotate_and_replicas_restart(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("rotation").await?;
    let (done, until) = watch::channel(false);

    // It beats through all of it, and hears of every authority by the replies.
    let through = Worker::new("through", 4, PATIENCE).job();
    let jobs = Api::<Job>::namespaced(environment.client.clone(), namespace.name());
    jobs.create(&PostParams::default(), &through).await.context("submitting the worker")?;
    wait::until_running(&environment.client, namespace.name(), "through", &[], Duration::from_mins(1)).await?;

    let changing = async {
        let changed = tokio::try_join!(certificates_change(&environment.client), replicas_are_replaced(environment));
        // Whatever came of it, the creating ends.
        done.send_replace(true);
        changed
    };
    let creating_jobs = create_jobs(&jobs, until.clone());
    let creating_pods = create_pods(Api::namespaced(environment.client.clone(), namespace.name()), until);
    let began = Instant::now();
    let all = async { tokio::join!(changing, creating_jobs, creating_pods) };
    let (changed, jobs, pods) = tokio::time::timeout(PATIENCE, Box::pin(all))
        .await
        .context("the certificates did not change often enough in time")?;
    let (jobs, pods) = (jobs?, pods?);
    changed?;
    progress::note(format!("{jobs} Jobs and {pods} pods were created in {:.0?}, none refused", began.elapsed()));

    let told = environment.receiver.about(namespace.name(), "through");
    ensure!(told.is_empty(), "a worker that lives was reported: {told:?}");
    Ok(())
}

/// Creates suspended Jobs, at least [`EACH`] and until told; the first that is refused is an error.
async fn create_jobs(jobs: &Api<Job>, until: watch::Receiver<bool>) -> anyhow::Result<usize> {
    let mut ticks = ticks();
    let mut count = 0;
    while count < EACH || !*until.borrow() {
        ticks.tick().await;
        let name = format!("job-{count}");
        let job = Worker::new(&name, 4, Duration::ZERO).suspended().job();
        let job = jobs.create(&PostParams::default(), &job).await.with_context(|| format!("creating {name}"))?;
        ensure!(job.labels().get(label::ENROLLED).is_some_and(|it| it == label_value::TRUE), "{name} was let past");
        count += 1;
    }
    Ok(count)
}

/// The same with pods that no node takes.
async fn create_pods(pods: Api<Pod>, until: watch::Receiver<bool>) -> anyhow::Result<usize> {
    let mut ticks = ticks();
    let mut count = 0;
    while count < EACH || !*until.borrow() {
        ticks.tick().await;
        let name = format!("pod-{count}");
        let pod = pods.create(&PostParams::default(), &pod(&name)?).await;
        let pod = pod.with_context(|| format!("creating {name}"))?;
        ensure!(sidecars(&pod) == ["Always"], "{name} has these sidecars: {:?}", sidecars(&pod));
        count += 1;
    }
    Ok(count)
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits until the authority and the webhook's certificate have changed often enough.
async fn certificates_change(client: &Client) -> anyhow::Result<()> {
    let secrets = Api::<Secret>::namespaced(client.clone(), NAMESPACE);
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    while seen.iter().any(|certificates| certificates.len() <= CHANGES) {
        for (name, seen) in [object::CA_SECRET, object::WEBHOOK_TLS_SECRET].into_iter().zip(&mut seen) {
            let secret = secrets.get(name).await.with_context(|| format!("reading {name}"))?;
            let certificate = secret.data.unwrap_or_default().remove("tls.crt").context("it has a certificate")?;
            seen.insert(certificate.0);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Replaces both replicas, one after the other, as an upgrade does.
async fn replicas_are_replaced(environment: &Environment) -> anyhow::Result<()> {
    let namespace = format!("--namespace={NAMESPACE}");
    let deployment = format!("deployment/{}", object::WEBHOOK_SERVICE);
    environment.cluster.kubectl(["rollout", "restart", &namespace, &deployment]).await.context("restarting")?;
    let waited = environment.cluster.kubectl(["rollout", "status", &namespace, &deployment, "--timeout=2m"]).await;
    waited.context("waiting for the new replicas").map(drop)
}
