//! Waiting for objects by watching them.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jobwarden_common::names::label;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// Waits until the object satisfies `wanted`, which gets `None` while the object does not exist. The error names the wanted
/// `state` and shows the current object.
pub async fn until<K>(
    client: &Client,
    namespace: &str,
    name: &str,
    timeout: Duration,
    state: &str,
    wanted: impl Fn(Option<&K>) -> bool,
) -> anyhow::Result<Option<K>>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let waiting = await_condition(api.clone(), name, |object: Option<&K>| wanted(object));
    if let Ok(object) = tokio::time::timeout(timeout, waiting).await {
        return object.with_context(|| format!("waiting until {namespace}/{name} is {state}"));
    }
    let now = api.get_opt(name).await.with_context(|| format!("reading {namespace}/{name}"))?;
    bail!("{namespace}/{name} is not {state} after {timeout:?}: {now:#?}")
}

/// Waits until the Job's condition of this type is true, and returns the condition's reason.
pub async fn until_job(
    client: &Client,
    namespace: &str,
    name: &str,
    condition: &str,
    timeout: Duration,
) -> anyhow::Result<String> {
    let job = until::<Job>(client, namespace, name, timeout, condition, |job| reason_of(job, condition).is_some());
    let job = job.await?;
    reason_of(job.as_ref(), condition).context("the condition has disappeared")
}

/// Waits until the object does not exist.
pub async fn until_gone<K>(client: &Client, namespace: &str, name: &str, timeout: Duration) -> anyhow::Result<()>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
{
    until::<K>(client, namespace, name, timeout, "gone", |object| object.is_none()).await.map(drop)
}

/// The reason of the Job's condition of this type, if it is true.
pub fn reason_of(job: Option<&Job>, condition: &str) -> Option<String> {
    let conditions = job?.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|it| it.type_ == condition && it.status == "True")?;
    Some(found.reason.clone().unwrap_or_default())
}

/// Waits for a pod of the Job whose main container is running, other than those named in `except`.
pub async fn until_running(
    client: &Client,
    namespace: &str,
    job: &str,
    except: &[&str],
    timeout: Duration,
) -> anyhow::Result<Pod> {
    use futures::TryStreamExt as _;
    use kube::runtime::{WatchStreamExt as _, watcher};

    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let config = watcher::Config::default().labels(&format!("{}={job}", label::JOB_NAME));
    let mut pods = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
    let waiting = async {
        while let Some(pod) = pods.try_next().await? {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            if !except.contains(&name) && main_runs(&pod) {
                return Ok(pod);
            }
        }
        bail!("the watch ended")
    };
    match tokio::time::timeout(timeout, waiting).await {
        Ok(pod) => pod.with_context(|| format!("waiting for a pod of {namespace}/{job}")),
        Err(_) => bail!("no pod of Job {namespace}/{job} is running after {timeout:?}"),
    }
}

/// Whether a main container of the pod runs.
pub fn main_runs(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.is_some_and(|statuses| {
        statuses.iter().any(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()))
    })
}
