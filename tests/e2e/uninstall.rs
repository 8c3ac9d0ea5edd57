//! Uninstalling jobwarden leaves nothing behind that would block the cluster.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{FINALIZER, label, object};
use jobwarden_testbed::progress;
use jobwarden_tests::environment::{ENDLESS, Environment, SOON};
use jobwarden_tests::install::{self, HOME};
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};

pub(crate) async fn helm_uninstall_leaves_no_finalizer_and_no_webhook(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("uninstall").await?;
    create_held_job(environment, namespace.name()).await?;
    install::uninstall(&environment.cluster).await?;
    verify_no_certificates(environment).await?;
    verify_released(environment, namespace.name()).await
}

/// Nothing that the webhook filled is left, and the webhook, which ends a moment later, creates none of it again.
async fn verify_no_certificates(environment: &Environment) -> anyhow::Result<()> {
    let secrets = Api::<Secret>::namespaced(environment.client.clone(), install::NAMESPACE);
    for name in crate::own_objects::SECRETS {
        ensure!(secrets.get_opt(name).await?.is_none(), "the Secret {name} still exists");
    }
    let maps = Api::<ConfigMap>::namespaced(environment.client.clone(), install::NAMESPACE);
    ensure!(maps.get_opt(object::REAPER_ENDPOINT).await?.is_none(), "the endpoint's ConfigMap still exists");
    Ok(())
}

pub(crate) async fn plain_manifests_install_and_uninstall_completely(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    if Api::<MutatingWebhookConfiguration>::all(environment.client.clone())
        .get_opt(object::WEBHOOK_CONFIGURATION)
        .await?
        .is_some()
    {
        install::uninstall(&environment.cluster).await?;
    }
    let cluster = &environment.cluster;
    let manifest = manifest("install.yaml");
    let file = format!("--filename={}", manifest.display());
    // The API server validates objects only in an existing namespace, and Helm's namespace may still be terminating.
    let agents = format!("namespace/{}", object::AGENT);
    cluster.kubectl(["wait", "--for=delete", &agents, "--timeout=1m"]).await?;
    for namespace in [install::NAMESPACE, object::AGENT] {
        let manifest = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
        cluster.apply(&manifest).await?;
    }
    cluster.kubectl(["apply", "--server-side", "--force-conflicts", "--dry-run=server", &file]).await?;
    let step = progress::step("installing jobwarden from plain manifests");
    cluster.kubectl(["apply", "--server-side", "--force-conflicts", &file]).await?;
    for deployment in ["deployment/jobwarden-webhook", "deployment/jobwarden-reaper"] {
        let namespace = format!("--namespace={}", install::NAMESPACE);
        cluster.kubectl(["rollout", "status", deployment, &namespace, "--timeout=2m"]).await?;
    }
    install::wait_until_admitting(cluster).await?;
    drop(step);
    let namespace = environment.enrolled_namespace("plain").await?;
    // Plain manifests have no sink, so no Job gets a finalizer. This Job has one from a time when there was a sink.
    let mut job = Worker::new("held", 4, ENDLESS).on_node(HOME).job();
    job.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    let jobs = Api::<Job>::namespaced(environment.client.clone(), namespace.name());
    let job = jobs.create(&PostParams::default(), &job).await.context("creating a Job")?;
    ensure!(job.labels().contains_key(label::ENROLLED), "the Job was not enrolled: {:?}", job.labels());
    // The commands of the README.
    let release = format!("--filename={}", self::manifest("release.yaml").display());
    cluster.kubectl(["apply", "--server-side", &release]).await?;
    let jobwarden = format!("--namespace={}", install::NAMESPACE);
    cluster.kubectl(["wait", "--for=condition=complete", "job/jobwarden-release", &jobwarden, "--timeout=2m"]).await?;
    cluster.kubectl(["delete", "--ignore-not-found", &release, &file]).await?;
    verify_released(environment, namespace.name()).await
}

/// Creates a running Job with jobwarden's finalizer.
async fn create_held_job(environment: &Environment, namespace: &str) -> anyhow::Result<()> {
    let worker = Worker::new("held", 4, ENDLESS).on_node(HOME);
    environment.submit(namespace, &worker).await?;
    let held = |job: Option<&Job>| job.is_some_and(|job| job.finalizers().iter().any(|it| it == FINALIZER));
    wait::until(&environment.client, namespace, "held", SOON, "held by the finalizer", held).await.map(drop)
}

async fn verify_released(environment: &Environment, namespace: &str) -> anyhow::Result<()> {
    let job =
        Api::<Job>::namespaced(environment.client.clone(), namespace).get("held").await.context("reading the Job")?;
    ensure!(!job.finalizers().iter().any(|it| it == FINALIZER), "{:?}", job.finalizers());
    let configurations = Api::<MutatingWebhookConfiguration>::all(environment.client.clone());
    let left = configurations.get_opt(object::WEBHOOK_CONFIGURATION).await?;
    ensure!(left.is_none(), "the webhook configuration still exists");
    Ok(())
}

fn manifest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").join(name)
}
