//! `jobwarden release`: removes jobwarden's finalizer from Jobs before jobwarden is removed. Safe to repeat.

use std::time::Duration;

use clap::Args;
use jobwarden_common::names::{FIELD_MANAGER, FINALIZER, object};
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration, apps::v1::Deployment, batch::v1::Job, core::v1::Pod,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    cluster::{ClusterArgs, ClusterError},
    output::{self, OutputError},
};

/// Jobs in one page of a list.
const PAGE: u32 = 500;
/// Interval at which terminating reaper pods are listed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The longest that reaper pods may take to terminate.
const TERMINATION_TIMEOUT: Duration = Duration::from_mins(2);

/// Remove jobwarden's finalizer from every Job, before uninstalling
///
/// 'helm uninstall' runs this as a hook. The order is always: webhook, reapers, Jobs. It is safe to repeat.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  Everything that has to be done before jobwarden is removed by hand:
    {prog} release --all --remove-webhook --stop-reapers")]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    steps: Steps,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What is done.
#[derive(Args, Clone, Copy, Debug)]
#[group(id = "steps", multiple = true, required = true)]
struct Steps {
    /// Remove the finalizer from every Job of the cluster
    #[arg(long)]
    all: bool,

    /// First delete the webhook configuration, so that no further Job gets the finalizer
    #[arg(long)]
    remove_webhook: bool,

    /// Then scale the reaper to 0 and wait for its pods to terminate, so that none adds the finalizer again
    #[arg(long)]
    stop_reapers: bool,
}

/// Why Jobs could not be released.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseError {
    /// The kubeconfig.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A request failed.
    #[error("cannot {doing}; fix the cause and run the command again")]
    Api {
        /// The request.
        doing: String,
        /// The API server's error.
        source: kube::Error,
    },
    /// The reapers do not terminate.
    #[error("{0} reaper pods have not terminated after two minutes; find out why, then run the command again")]
    NotTerminated(usize),
    /// Standard output.
    #[error(transparent)]
    Output(#[from] OutputError),
}

fn failed(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> ReleaseError {
    let doing = doing.into();
    |source| ReleaseError::Api { doing, source }
}

/// Prints a line about each step.
type Print<'a> = &'a dyn Fn(String) -> Result<(), OutputError>;

impl ReleaseArgs {
    /// Releases, and prints each step.
    pub(crate) async fn run(self) -> Result<(), ReleaseError> {
        let Self { steps, cluster } = self;
        let client = cluster.client().await?;
        steps.run(&client, &cluster.system_namespace, &|line| output::print(&(line + "\n"))).await
    }
}

impl Steps {
    async fn run(self, client: &Client, namespace: &str, print: Print<'_>) -> Result<(), ReleaseError> {
        let Self { all, remove_webhook, stop_reapers } = self;
        if remove_webhook {
            delete_webhook_configuration(client, print).await?;
        }
        if stop_reapers {
            stop(client, namespace, print).await?;
        }
        if all {
            let released = release_all(client, print).await?;
            print(format!("{released} Jobs released"))?;
        }
        Ok(())
    }
}

async fn delete_webhook_configuration(client: &Client, print: Print<'_>) -> Result<(), ReleaseError> {
    let name = object::WEBHOOK_CONFIGURATION;
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    match configurations.delete(name, &DeleteParams::default()).await {
        Ok(_) => print(format!("MutatingWebhookConfiguration {name} deleted"))?,
        Err(error) if is_not_found(&error) => print(format!("MutatingWebhookConfiguration {name} not found"))?,
        Err(error) => return Err(failed(format!("delete MutatingWebhookConfiguration {name}"))(error)),
    }
    Ok(())
}

async fn stop(client: &Client, namespace: &str, print: Print<'_>) -> Result<(), ReleaseError> {
    // The Deployment has the name of its Service, and its pods have that name as a label.
    let name = object::REAPER_SERVICE;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let scale = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    match deployments.patch_scale(name, &PatchParams::default(), &scale).await {
        Ok(_) => print(format!("Deployment {namespace}/{name} scaled to 0"))?,
        Err(error) if is_not_found(&error) => print(format!("Deployment {namespace}/{name} not found"))?,
        Err(error) => return Err(failed(format!("scale Deployment {namespace}/{name}"))(error)),
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let reapers = ListParams::default().labels(&format!("app.kubernetes.io/name={name}"));
    let deadline = Instant::now() + TERMINATION_TIMEOUT;
    loop {
        let left = pods.list(&reapers).await.map_err(failed("list the reaper pods"))?.items.len();
        if left == 0 {
            return Ok(print("all reaper pods have terminated".to_owned())?);
        }
        if Instant::now() >= deadline {
            return Err(ReleaseError::NotTerminated(left));
        }
        print(format!("waiting for {left} reaper pods to terminate"))?;
        sleep(POLL_INTERVAL).await;
    }
}

async fn release_all(client: &Client, print: Print<'_>) -> Result<usize, ReleaseError> {
    let all: Api<Job> = Api::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    let mut released = 0;
    loop {
        let page = all.list(&params).await.map_err(failed("list Jobs"))?;
        for job in page.items {
            if release(client, job, print).await? {
                released += 1;
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(released),
        }
    }
}

/// Whether the Job had the finalizer.
async fn release(client: &Client, mut job: Job, print: Print<'_>) -> Result<bool, ReleaseError> {
    let (Some(namespace), Some(name)) = (job.metadata.namespace.clone(), job.metadata.name.clone()) else {
        return Ok(false); // The API server names every Job.
    };
    let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
    loop {
        let mut finalizers = job.metadata.finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(false);
        }
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        let patch = Patch::Merge(json!({ "metadata": {
            "uid": job.metadata.uid,
            "resourceVersion": job.metadata.resource_version,
            "finalizers": finalizers,
        } }));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match jobs.patch(&name, &params, &patch).await {
            Ok(_) => {
                print(format!("Job {namespace}/{name} released"))?;
                return Ok(true);
            }
            Err(error) if is_not_found(&error) => return Ok(false),
            // Modified concurrently since it was listed.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let live = jobs.get_opt(&name).await.map_err(failed(format!("get Job {namespace}/{name}")))?;
                let Some(live) = live else { return Ok(false) };
                job = live;
            }
            Err(error) => return Err(failed(format!("remove the finalizer from Job {namespace}/{name}"))(error)),
        }
    }
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests;
