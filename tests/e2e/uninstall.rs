//! jobwarden goes as it came: without a trace that would hold up anything.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{FINALIZER, label, object};
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::{ENDLESS, Ground, SOON};
use jobwarden_tests::install::{self, HOME};
use jobwarden_tests::job::Worker;
use jobwarden_tests::{progress, wait};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::batch::v1::Job;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};

use crate::Outcome;

pub(crate) async fn helm_uninstall_leaves_no_finalizer_and_no_webhook(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("uninstall").await?;
    hold(ground, namespace.name()).await?;
    install::uninstall(&ground.cluster).await?;
    is_released(ground, namespace.name()).await
}

pub(crate) async fn plain_manifests_are_accepted_and_go_without_a_trace(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    if Api::<MutatingWebhookConfiguration>::all(ground.client.clone())
        .get_opt(object::WEBHOOK_CONFIGURATION)
        .await?
        .is_some()
    {
        install::uninstall(&ground.cluster).await?;
    }
    let cluster = &ground.cluster;
    let manifest = manifest("install.yaml");
    let file = format!("--filename={}", manifest.display());
    // Namespaced objects are only validated in a namespace that exists; what Helm had made of it is still on its way out.
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
    let namespace = ground.enrolled_namespace("plain").await?;
    // Plain manifests have no sink, so nothing is held; but this Job was, say, before the sinks were taken away.
    let mut job = Worker::new("held", 4, ENDLESS).on_node(HOME).job();
    job.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    let jobs = Api::<Job>::namespaced(ground.client.clone(), namespace.name());
    let job = jobs.create(&PostParams::default(), &job).await.context("submitting a Job")?;
    ensure!(job.labels().contains_key(label::ENROLLED), "the Job was not enrolled: {:?}", job.labels());
    // As the README says.
    let release = format!("--filename={}", self::manifest("release.yaml").display());
    cluster.kubectl(["apply", "--server-side", &release]).await?;
    let jobwarden = format!("--namespace={}", install::NAMESPACE);
    cluster.kubectl(["wait", "--for=condition=complete", "job/jobwarden-release", &jobwarden, "--timeout=2m"]).await?;
    cluster.kubectl(["delete", "--ignore-not-found", &release, &file]).await?;
    is_released(ground, namespace.name()).await
}

/// A Job that runs and is held by our finalizer.
async fn hold(ground: &Ground, namespace: &str) -> Outcome {
    let worker = Worker::new("held", 4, ENDLESS).on_node(HOME);
    ground.submit(namespace, &worker).await?;
    let held = |job: Option<&Job>| job.is_some_and(|job| job.finalizers().iter().any(|it| it == FINALIZER));
    wait::until(&ground.client, namespace, "held", SOON, "is held", held).await.map(drop)
}

async fn is_released(ground: &Ground, namespace: &str) -> Outcome {
    let job = Api::<Job>::namespaced(ground.client.clone(), namespace).get("held").await.context("the Job is there")?;
    ensure!(!job.finalizers().iter().any(|it| it == FINALIZER), "{:?}", job.finalizers());
    let configurations = Api::<MutatingWebhookConfiguration>::all(ground.client.clone());
    let left = configurations.get_opt(object::WEBHOOK_CONFIGURATION).await?;
    ensure!(left.is_none(), "the webhook configuration is still there");
    Ok(())
}

fn manifest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").join(name)
}
