//! The demo on an existing cluster: the parts without a crash.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use jobwarden_common::names::object;
use jobwarden_tests::{install, job_outcomes, wait};
use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Namespace};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, DynamicObject, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

use super::{
    output::{check, heading, indented, line},
    summary::Summary,
    worker::{self, JOB, JOB_ID, RUN_ID},
};

/// How long the worker runs: long enough for two reports of the agent.
const DURATION: Duration = Duration::from_secs(25);
const PATIENCE: Duration = Duration::from_mins(3);

pub(super) async fn run(kubeconfig: &Path, image: &str) -> anyhow::Result<Summary> {
    let client = client(kubeconfig).await?;
    find_installation(&client).await?;
    let namespace = create_namespace(&client).await?;
    let summary = show(&client, &namespace, image).await;
    let namespaces = Api::<Namespace>::all(client);
    namespaces.delete(&namespace, &DeleteParams::default()).await.context("deleting the demo's namespace")?;
    summary
}

async fn show(client: &Client, namespace: &str, image: &str) -> anyhow::Result<Summary> {
    let mut job = worker::ort_worker(DURATION).job();
    let template = job.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()).context("a worker has a pod")?;
    template.containers[0].image = Some(image.to_owned());
    let submitted = worker::submit(client, namespace, job).await?;
    heading("A Job with a sidecar completes");
    wait::until_job(client, namespace, JOB, "Complete", PATIENCE).await?;
    check(true, "the Job is Complete");
    heading("The recorded outcome");
    let uid =
        submitted.pod.metadata.owner_references.iter().flatten().next().context("the pod has an owner")?.uid.clone();
    let outcome = outcome(client, &uid).await?;
    indented(&serde_json::to_string_pretty(&outcome)?);
    let data = &outcome["data"];
    let summary = Summary {
        injected: submitted.injected,
        run_id: data["runId"].as_str().map(str::to_owned),
        job_id: data["jobId"].as_str().map(str::to_owned),
        beats: submitted.beats,
        reason: data["reason"].as_str().map(str::to_owned),
        peak_rss_bytes: data["usage"]["peakRssBytes"].as_u64(),
        ..Summary::default()
    };
    let passed = summary.injected
        && summary.run_id.as_deref() == Some(RUN_ID)
        && summary.job_id.as_deref() == Some(JOB_ID)
        && summary.peak_rss_bytes.is_some();
    check(passed, "the outcome has run ID, job ID and peak memory");
    Ok(Summary { passed, ..summary })
}

async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    jobwarden_testbed::install_crypto_provider();
    let file = Kubeconfig::read_from(kubeconfig).with_context(|| format!("reading {}", kubeconfig.display()))?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    Client::try_from(config.context("reading the kubeconfig")?).context("creating a client")
}

async fn find_installation(client: &Client) -> anyhow::Result<()> {
    let configurations = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let found = configurations
        .get_opt(object::WEBHOOK_CONFIGURATION)
        .await
        .context("looking for jobwarden's webhook configuration")?;
    if found.is_none() {
        bail!(
            "jobwarden is not installed on this cluster. Install it first: \
             helm install jobwarden manifests/chart --namespace {} --create-namespace",
            install::NAMESPACE
        );
    }
    line("jobwarden is installed on this cluster.");
    Ok(())
}

async fn create_namespace(client: &Client) -> anyhow::Result<String> {
    let namespace = serde_json::from_value(json!({
        "metadata": {"generateName": "jobwarden-demo-", "labels": {"jobwarden.io/inject": "enabled"}}
    }))?;
    let created = Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await;
    created.context("creating a namespace for the demo")?.metadata.name.context("the created namespace has no name")
}

/// The spec of the Job's JobOutcome.
async fn outcome(client: &Client, job_uid: &str) -> anyhow::Result<serde_json::Value> {
    let api = job_outcomes::api(client);
    let name = format!("{job_uid}.final");
    let waiting = kube::runtime::wait::await_condition(api, &name, |object: Option<&DynamicObject>| object.is_some());
    let found = tokio::time::timeout(PATIENCE, waiting).await.context("no outcome was recorded in time")??;
    Ok(found.context("the outcome was deleted")?.data["spec"].clone())
}
