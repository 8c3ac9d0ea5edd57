//! A Kubernetes namespace that exists as long as one test.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};

use crate::cluster::{Cluster, client_for};
use crate::error::{ClusterError, Context, Result};
use crate::poll::wait_until;
use crate::progress;

/// How long the controllers may take to create the namespace's service account.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A namespace that is deleted when this is dropped.
pub struct TempNamespace {
    name: String,
    config: kube::Config,
    deleted: bool,
}

impl Cluster {
    /// Creates a namespace for one test, with a unique name that begins with `prefix`.
    pub async fn temp_namespace(&self, prefix: &str, labels: &[(&str, &str)]) -> Result<TempNamespace> {
        let name = format!("{prefix}-{}", unique());
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), labels: Some(labels), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let client = self.client()?;
        Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .context(|| format!("creating namespace {name}"))?;
        let created = TempNamespace { name: name.clone(), config: self.client_config(), deleted: false };
        // No pod is admitted before the namespace has its default service account.
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &name);
        wait_until(&format!("namespace {name} has no service account"), TIMEOUT, String::new, async || {
            let found = accounts.get_opt("default").await.context(|| "reading a service account")?;
            Ok(found.is_some())
        })
        .await?;
        Ok(created)
    }
}

impl TempNamespace {
    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Deletes the namespace without waiting until its contents are gone.
    pub async fn delete(mut self) -> Result<()> {
        self.deleted = true;
        delete(&self.config, &self.name).await
    }
}

impl Drop for TempNamespace {
    /// Runs on a thread with its own runtime, so that it works inside and outside of an async context.
    fn drop(&mut self) {
        if self.deleted {
            return;
        }
        let (config, name) = (self.config.clone(), self.name.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context(|| "starting a runtime to delete a namespace")?;
            runtime.block_on(async {
                let timeout = Duration::from_secs(5);
                tokio::time::timeout(timeout, delete(&config, &name)).await.unwrap_or_else(|_| {
                    let problem = format!("namespace {name} was not deleted");
                    Err(ClusterError::TimedOut { problem, waited: timeout, tail: String::new() })
                })
            })
        });
        let outcome = thread.join().unwrap_or(Err(ClusterError::Panicked("the deletion of a namespace")));
        if let Err(error) = outcome {
            progress::note(error.to_string());
        }
    }
}

async fn delete(config: &kube::Config, name: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client_for(config)?);
    match namespaces.delete(name, &DeleteParams::background()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        outcome => outcome.map(drop).context(|| format!("deleting namespace {name}")),
    }
}

/// Unique among the tests of one process, and among runs on one cluster.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let millis = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    format!("{:x}-{}", millis & 0xfff_ffff, COUNT.fetch_add(1, Ordering::Relaxed))
}
