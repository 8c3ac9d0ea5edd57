//! The connection to a cluster, chosen as kubectl does.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use kube::{
    Client, Config,
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

/// The longest that connecting to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time without any data from the API server: longer than the longest timeout of a webhook (30 s).
const READ_TIMEOUT: Duration = Duration::from_secs(40);

/// Flags that choose the cluster.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// Kubeconfig file; default: KUBECONFIG, ~/.kube/config, or the service account of the pod
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; default: its current context
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// Namespace that jobwarden is installed in
    #[arg(long, env = "JOBWARDEN_NAMESPACE", default_value = "jobwarden", value_name = "NAME")]
    pub(crate) system_namespace: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// The file of `--kubeconfig`.
    #[error("cannot use the kubeconfig {}", path.display())]
    File { path: PathBuf, source: KubeconfigError },
    /// The context of `--context`.
    #[error("cannot use the context {context:?} of the kubeconfig; 'kubectl config get-contexts' lists them")]
    Context { context: String, source: KubeconfigError },
    /// Neither a kubeconfig nor a service account.
    #[error("cannot find a cluster: no kubeconfig and no service account; set --kubeconfig or KUBECONFIG")]
    Infer(#[source] InferConfigError),
    /// The configuration was found, but it is not usable.
    #[error("cannot connect to the API server")]
    Connect(#[source] kube::Error),
}

impl ClusterArgs {
    /// The configuration of the connection; its default namespace is that of the context.
    pub(crate) async fn config(&self) -> Result<Config, ClusterError> {
        let Self { kubeconfig, context, system_namespace: _ } = self;
        let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
        let mut config = match (kubeconfig, context) {
            (Some(path), _) => {
                let failed = |source| ClusterError::File { path: path.clone(), source };
                let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
                Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)?
            }
            (None, Some(context)) => {
                let failed = |source| ClusterError::Context { context: context.clone(), source };
                Config::from_kubeconfig(&options).await.map_err(failed)?
            }
            (None, None) => Config::infer().await.map_err(ClusterError::Infer)?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        // An API server that is down is reported immediately.
        config.default_retry = false;
        Ok(config)
    }

    /// A client of the cluster.
    pub(crate) async fn client(&self) -> Result<Client, ClusterError> {
        Client::try_from(self.config().await?).map_err(ClusterError::Connect)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: one
clusters:
- {name: a, cluster: {server: 'https://a.example.com'}}
- {name: b, cluster: {server: 'https://b.example.com'}}
contexts:
- {name: one, context: {cluster: a, user: u, namespace: my-jobs}}
- {name: two, context: {cluster: b, user: u}}
users:
- {name: u, user: {token: t}}
";

    async fn config(path: &Path, context: Option<&str>) -> Result<Config, ClusterError> {
        let args = ClusterArgs {
            kubeconfig: Some(path.to_owned()),
            context: context.map(str::to_owned),
            system_namespace: "jobwarden".to_owned(),
        };
        args.config().await
    }

    #[tokio::test]
    async fn kubeconfig_and_context_choose_cluster_and_namespace() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        fs::write(&path, KUBECONFIG).expect("written");
        let current = config(&path, None).await.expect("the current context");
        assert_eq!(current.cluster_url, "https://a.example.com/");
        assert_eq!(current.default_namespace, "my-jobs");
        let other = config(&path, Some("two")).await.expect("another context");
        assert_eq!(
            (other.cluster_url.to_string().as_str(), other.default_namespace.as_str()),
            ("https://b.example.com/", "default")
        );
        let error = config(&path, Some("three")).await.expect_err("no such context").to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let error = config(Path::new("/does/not/exist"), None).await.expect_err("no such file").to_string();
        assert!(error.contains("/does/not/exist"), "{error}");
    }
}
