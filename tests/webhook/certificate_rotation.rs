//! Certificates that rotate and replicas that are replaced while Jobs and pods are created. No request may fail.

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

/// The minimum number of Jobs, and of pods.
const MINIMUM: usize = 1000;

/// The time between two creations of a kind: [`MINIMUM`] creations take as long as two CA certificates of 90 s.
const PACE: Duration = Duration::from_millis(125);

/// How long the test may take.
const TIMEOUT: Duration = Duration::from_mins(6);

/// How often each certificate has to rotate.
const ROTATIONS: usize = 2;

pub(crate) async fn nothing_fails_while_certificates_rotate_and_replicas_restart(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("rotation").await?;
    let (done, until) = watch::channel(false);

    // Its sidecar beats all the time, and learns of every new CA certificate from the replies.
    let through = Worker::new("through", 4, TIMEOUT).job();
    let jobs = Api::<Job>::namespaced(environment.client.clone(), namespace.name());
    jobs.create(&PostParams::default(), &through).await.context("creating the worker's Job")?;
    wait::until_running(&environment.client, namespace.name(), "through", &[], Duration::from_mins(1)).await?;

    let rotating = async {
        let rotated = tokio::try_join!(wait_for_rotations(&environment.client), replace_replicas(environment));
        // The creation of Jobs and pods ends in any case.
        done.send_replace(true);
        rotated
    };
    let creating_jobs = create_jobs(&jobs, until.clone());
    let creating_pods = create_pods(Api::namespaced(environment.client.clone(), namespace.name()), until);
    let began = Instant::now();
    let all = async { tokio::join!(rotating, creating_jobs, creating_pods) };
    let (rotated, jobs, pods) = tokio::time::timeout(TIMEOUT, Box::pin(all))
        .await
        .context("the certificates did not rotate often enough in time")?;
    let (jobs, pods) = (jobs?, pods?);
    rotated?;
    progress::note(format!(
        "{jobs} Jobs and {pods} pods were created in {:.0?}, and no request failed",
        began.elapsed()
    ));

    let about = environment.receiver.about(namespace.name(), "through");
    ensure!(about.is_empty(), "a live worker was reported: {about:?}");
    Ok(())
}

/// Creates suspended Jobs, at least [`MINIMUM`] and until `until` is true. The first failed request is an error: nothing here
/// retries, because a refused connection is what this test has to find.
async fn create_jobs(jobs: &Api<Job>, until: watch::Receiver<bool>) -> anyhow::Result<usize> {
    let mut ticks = ticks();
    let mut count = 0;
    while count < MINIMUM || !*until.borrow() {
        ticks.tick().await;
        let name = format!("job-{count}");
        let job = Worker::new(&name, 4, Duration::ZERO).suspended().job();
        let job = jobs.create(&PostParams::default(), &job).await.with_context(|| format!("creating {name}"))?;
        ensure!(
            job.labels().get(label::ENROLLED).is_some_and(|it| it == label_value::TRUE),
            "{name} was not admitted by the webhook"
        );
        count += 1;
    }
    Ok(count)
}

/// The same with pods that fit no node.
async fn create_pods(pods: Api<Pod>, until: watch::Receiver<bool>) -> anyhow::Result<usize> {
    let mut ticks = ticks();
    let mut count = 0;
    while count < MINIMUM || !*until.borrow() {
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

/// Waits until the CA certificate and the webhook's certificate have rotated often enough.
async fn wait_for_rotations(client: &Client) -> anyhow::Result<()> {
    let secrets = Api::<Secret>::namespaced(client.clone(), NAMESPACE);
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    while seen.iter().any(|certificates| certificates.len() <= ROTATIONS) {
        for (name, seen) in [object::CA_SECRET, object::WEBHOOK_TLS_SECRET].into_iter().zip(&mut seen) {
            let secret = secrets.get(name).await.with_context(|| format!("reading {name}"))?;
            let certificate = secret.data.unwrap_or_default().remove("tls.crt").context("the Secret has no tls.crt")?;
            seen.insert(certificate.0);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Replaces both replicas, one after the other, as an upgrade does.
async fn replace_replicas(environment: &Environment) -> anyhow::Result<()> {
    let namespace = format!("--namespace={NAMESPACE}");
    let deployment = format!("deployment/{}", object::WEBHOOK_SERVICE);
    environment
        .cluster
        .kubectl(["rollout", "restart", &namespace, &deployment])
        .await
        .context("restarting the webhook")?;
    let waited = environment.cluster.kubectl(["rollout", "status", &namespace, &deployment, "--timeout=2m"]).await;
    waited.context("waiting for the new replicas").map(drop)
}
