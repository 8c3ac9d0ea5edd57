//! Where the reaper is: from flags or from a `ConfigMap`.

use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

use clap::Args;
use jobwarden_common::names::{endpoint_key, object};
use jobwarden_serve::client::{Endpoint, EndpointError};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tokio::time::{error::Elapsed, timeout};

/// Timeout of reading the `ConfigMap`.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Flags that specify where the reaper is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Reaper")]
pub struct EndpointArgs {
    /// Namespace of jobwarden, with the config map jobwarden-reaper-endpoint that specifies where the reaper is
    #[arg(long, env = "JOBWARDEN_REAPER_NAMESPACE", default_value = "jobwarden", value_name = "NAMESPACE")]
    pub reaper_namespace: String,

    /// Address of the reaper, instead of the config map; requires --reaper-name and --reaper-ca-file
    #[arg(long, env = "JOBWARDEN_REAPER_ADDRESS", requires_all = ["reaper_name", "reaper_ca_file"], value_name = "HOST:PORT")]
    pub reaper_address: Option<String>,

    /// DNS name that the certificate of the reaper must carry
    #[arg(long, env = "JOBWARDEN_REAPER_NAME", requires = "reaper_address", value_name = "NAME")]
    pub reaper_name: Option<String>,

    /// File with the CA certificates (PEM) that sign the certificate of the reaper
    #[arg(long, env = "JOBWARDEN_REAPER_CA_FILE", requires = "reaper_address", value_name = "FILE")]
    pub reaper_ca_file: Option<PathBuf>,
}

/// Why the endpoint of the reaper is unknown.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no cluster configuration.
    #[error("cannot find the API server; run in a pod, or set --reaper-address, --reaper-name and --reaper-ca-file")]
    NoCluster(#[source] kube::Error),
    /// The `ConfigMap` cannot be read.
    #[error("cannot read ConfigMap {name}; the webhook creates it together with the certificates")]
    Read {
        /// Its name.
        name: &'static str,
        /// The response of the API server.
        source: kube::Error,
    },
    /// The API server did not respond in time.
    #[error("the API server did not respond within {} s", READ_TIMEOUT.as_secs())]
    TimedOut(#[from] Elapsed),
    /// The `ConfigMap` is incomplete.
    #[error("key {0} is missing in ConfigMap {object}", object = object::REAPER_ENDPOINT)]
    MissingKey(&'static str),
    /// The CA file cannot be read.
    #[error("cannot read {}", file.display())]
    CaFile {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The name or the CA bundle is invalid.
    #[error("invalid endpoint of the reaper")]
    Invalid(#[from] EndpointError),
}

/// Where the endpoint is read from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From flags; the CA file is read each time.
    Flags {
        /// `host:port`.
        address: String,
        /// The name that the certificate must carry.
        name: String,
        /// The CA bundle, PEM.
        ca_file: PathBuf,
    },
    /// From the `ConfigMap` [`object::REAPER_ENDPOINT`].
    ConfigMap(Api<ConfigMap>),
}

impl EndpointArgs {
    /// The source that these flags select.
    pub async fn source(self) -> Result<Source, SourceError> {
        let Self { reaper_namespace, reaper_address, reaper_name, reaper_ca_file } = self;
        // clap makes sure that either all three are set or none.
        if let (Some(address), Some(name), Some(ca_file)) = (reaper_address, reaper_name, reaper_ca_file) {
            return Ok(Source::Flags { address, name, ca_file });
        }
        let client = Client::try_default().await.map_err(SourceError::NoCluster)?;
        Ok(Source::ConfigMap(Api::namespaced(client, &reaper_namespace)))
    }
}

impl Source {
    /// Reads the current endpoint.
    pub async fn read(&self) -> Result<Endpoint, SourceError> {
        match self {
            Self::Flags { address, name, ca_file } => {
                let ca = tokio::fs::read_to_string(ca_file)
                    .await
                    .map_err(|source| SourceError::CaFile { file: ca_file.clone(), source })?;
                Ok(Endpoint::new(address.clone(), name, &ca)?)
            }
            Self::ConfigMap(api) => {
                let name = object::REAPER_ENDPOINT;
                let config_map = timeout(READ_TIMEOUT, api.get(name)).await?;
                let config_map = config_map.map_err(|source| SourceError::Read { name, source })?;
                from_config_map(&config_map.data.unwrap_or_default())
            }
        }
    }
}

fn from_config_map(data: &BTreeMap<String, String>) -> Result<Endpoint, SourceError> {
    let value = |key: &'static str| data.get(key).ok_or(SourceError::MissingKey(key));
    let (address, name) = (value(endpoint_key::ADDRESS)?, value(endpoint_key::SERVER_NAME)?);
    Ok(Endpoint::new(address.clone(), name, value(endpoint_key::CA)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(ca: &str) -> BTreeMap<String, String> {
        let values = [
            (endpoint_key::ADDRESS, "10.96.0.7:8444"),
            (endpoint_key::SERVER_NAME, "jobwarden-reaper.jobwarden.svc"),
            (endpoint_key::CA, ca),
        ];
        values.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    fn ca() -> String {
        rcgen::generate_simple_self_signed(Vec::new()).expect("no names").cert.pem()
    }

    #[test]
    fn a_complete_config_map_is_an_endpoint() {
        let endpoint = from_config_map(&data(&ca())).expect("complete");
        assert_eq!(endpoint.address(), "10.96.0.7:8444");
        assert_eq!(endpoint.server_name().to_str(), "jobwarden-reaper.jobwarden.svc");
    }

    #[test]
    fn the_error_names_the_missing_key() {
        for key in [endpoint_key::ADDRESS, endpoint_key::SERVER_NAME, endpoint_key::CA] {
            let mut data = data(&ca());
            data.remove(key);
            let error = from_config_map(&data).expect_err("a key is missing");
            assert!(matches!(error, SourceError::MissingKey(missing) if missing == key), "{error}");
        }
    }
}
