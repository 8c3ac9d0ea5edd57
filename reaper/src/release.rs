//! Letting go of every Job before jobwarden itself goes. May be run again and again.

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

/// Jobs asked for at one time.
const PAGE: u32 = 500;
/// How often the reapers are looked for while they end.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long they may take to end.
const PATIENCE: Duration = Duration::from_mins(2);

/// What is let go of; the order is always: webhook, reapers, Jobs.
#[derive(Args, Clone, Debug)]
#[group(id = "what", multiple = true, required = true)]
pub struct ReleaseArgs {
    /// Take the finalizer off every Job of the cluster
    #[arg(long, group = "what")]
    pub all: bool,

    /// First delete the webhook's configuration, so that no Job is given a finalizer any more
    #[arg(long, group = "what")]
    pub remove_webhook: bool,

    /// Then stop the reapers and wait until they are gone, so that none puts a finalizer back
    #[arg(long, group = "what")]
    pub stop_reapers: bool,
}

/// What could not be let go of.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The API server could not be asked, or refused.
    #[error("cannot {doing}; run this again once that is mended")]
    Api {
        /// What was being done.
        doing: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// The reapers do not end.
    #[error("{0} reaper pods are still there after two minutes; see why they do not end, then run this again")]
    StillThere(usize),
}

fn failed(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> ReleaseError {
    let doing = doing.into();
    |source| ReleaseError::Api { doing, source }
}

impl ReleaseArgs {
    /// Lets go, and tells `say` what it does.
    pub async fn run(&self, client: Client, namespace: &str, say: impl Fn(&str)) -> Result<(), ReleaseError> {
        let Self { all, remove_webhook, stop_reapers } = self;
        if *remove_webhook {
            remove_webhook_configuration(&client, &say).await?;
        }
        if *stop_reapers {
            stop(&client, namespace, &say).await?;
        }
        if *all {
            let released = release_all(&client, &say).await?;
            say(&format!("{released} Jobs were let go of"));
        }
        Ok(())
    }
}

async fn remove_webhook_configuration(client: &Client, say: &impl Fn(&str)) -> Result<(), ReleaseError> {
    let name = object::WEBHOOK_CONFIGURATION;
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    match configurations.delete(name, &DeleteParams::default()).await {
        Ok(_) => say(&format!("MutatingWebhookConfiguration {name} was deleted")),
        Err(error) if is_not_found(&error) => say(&format!("MutatingWebhookConfiguration {name} is gone already")),
        Err(error) => return Err(failed(format!("delete MutatingWebhookConfiguration {name}"))(error)),
    }
    Ok(())
}

async fn stop(client: &Client, namespace: &str, say: &impl Fn(&str)) -> Result<(), ReleaseError> {
    // The Deployment is named like its Service, and its pods are labelled with that name.
    let name = object::REAPER_SERVICE;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let scale = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    match deployments.patch_scale(name, &PatchParams::default(), &scale).await {
        Ok(_) => say(&format!("Deployment {namespace}/{name} was scaled to 0")),
        Err(error) if is_not_found(&error) => say(&format!("Deployment {namespace}/{name} is gone already")),
        Err(error) => return Err(failed(format!("scale Deployment {namespace}/{name}"))(error)),
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let reapers = ListParams::default().labels(&format!("app.kubernetes.io/name={name}"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = pods.list(&reapers).await.map_err(failed("list the reaper pods"))?.items.len();
        if left == 0 {
            say("no reaper is left");
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(ReleaseError::StillThere(left));
        }
        say(&format!("waiting for {left} reaper pods to end"));
        sleep(LOOK_EVERY).await;
    }
}

async fn release_all(client: &Client, say: &impl Fn(&str)) -> Result<usize, ReleaseError> {
    let all: Api<Job> = Api::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    let mut released = 0;
    loop {
        let page = all.list(&params).await.map_err(failed("list Jobs"))?;
        for job in page.items {
            if release(client, job, say).await? {
                released += 1;
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(released),
        }
    }
}

/// Whether there was something to let go of.
async fn release(client: &Client, mut job: Job, say: &impl Fn(&str)) -> Result<bool, ReleaseError> {
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
                say(&format!("Job {namespace}/{name} was let go of"));
                return Ok(true);
            }
            Err(error) if is_not_found(&error) => return Ok(false),
            // Somebody wrote since it was listed: look again.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let live = jobs.get_opt(&name).await.map_err(failed(format!("read Job {namespace}/{name}")))?;
                let Some(live) = live else { return Ok(false) };
                job = live;
            }
            Err(error) => return Err(failed(format!("let go of Job {namespace}/{name}"))(error)),
        }
    }
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::fake_api::FakeApi;

    const ALL: ReleaseArgs = ReleaseArgs { all: true, remove_webhook: true, stop_reapers: false };

    fn job(api: &FakeApi, namespace: &str, name: &str, finalizers: &[&str]) -> String {
        let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs/{name}");
        let finalizers = json!({ "namespace": namespace, "finalizers": finalizers });
        api.put(&path, json!({ "metadata": finalizers, "spec": { "template": {} } }));
        path
    }

    fn finalizers(api: &FakeApi, path: &str) -> serde_json::Value {
        api.get(path).expect("it is there")["metadata"]["finalizers"].clone()
    }

    async fn run(api: &FakeApi) -> Vec<String> {
        let said = Mutex::new(Vec::new());
        let say = |line: &str| said.lock().expect("nobody panics").push(line.to_owned());
        ALL.run(api.client(), "jobwarden", say).await.expect("it works");
        said.into_inner().expect("nobody panics")
    }

    #[tokio::test]
    async fn every_job_is_let_go_of_and_a_second_time_there_is_nothing_to_do() {
        let api = FakeApi::default();
        api.put("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/jobwarden", json!({}));
        let (held, shared) = (job(&api, "a", "held", &[FINALIZER]), job(&api, "b", "shared", &["other", FINALIZER]));
        let free = job(&api, "b", "free", &["other"]);
        assert_eq!(
            run(&api).await,
            [
                "MutatingWebhookConfiguration jobwarden was deleted",
                "Job a/held was let go of",
                "Job b/shared was let go of",
                "2 Jobs were let go of"
            ]
        );
        assert_eq!(finalizers(&api, &held), json!([]));
        assert_eq!((finalizers(&api, &shared), finalizers(&api, &free)), (json!(["other"]), json!(["other"])));
        assert_eq!(
            run(&api).await,
            ["MutatingWebhookConfiguration jobwarden is gone already", "0 Jobs were let go of"]
        );
    }

    #[tokio::test]
    async fn a_job_that_somebody_writes_to_at_the_same_time_is_let_go_of_as_well() {
        let api = FakeApi::default();
        let first = job(&api, "a", "first", &[FINALIZER]);
        let second = job(&api, "a", "second", &[FINALIZER]);
        let sneaky = second.clone();
        // Between the listing and the write to it.
        api.after(1, move |objects| {
            let job = objects.get_mut(&sneaky).expect("it is there");
            job["metadata"]["finalizers"] = json!([FINALIZER, "theirs"]);
            job["metadata"]["resourceVersion"] = json!("99999");
        });
        run(&api).await;
        assert_eq!((finalizers(&api, &first), finalizers(&api, &second)), (json!([]), json!(["theirs"])));
    }
}
