//! Whom to report to, and whom to trust there.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use jobwarden_common::names::{endpoint_key, object};
use jobwarden_serve::tls::{self, TlsError};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use rustls::{
    ClientConfig,
    pki_types::{InvalidDnsNameError, ServerName},
};
use tokio::time::{error::Elapsed, timeout};

/// How long the API server may take over the `ConfigMap`.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Flags that say where the reaper is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Reaper")]
pub struct EndpointArgs {
    /// The namespace of jobwarden; the config map jobwarden-reaper-endpoint in it says where the reaper is
    #[arg(long, env = "JOBWARDEN_REAPER_NAMESPACE", default_value = "jobwarden", value_name = "NAMESPACE")]
    pub reaper_namespace: String,

    /// Where the reaper is, instead of asking the config map; goes with the two that follow
    #[arg(long, env = "JOBWARDEN_REAPER_ADDRESS", requires_all = ["reaper_name", "reaper_ca_file"], value_name = "HOST:PORT")]
    pub reaper_address: Option<String>,

    /// The DNS name that the reaper's certificate must carry
    #[arg(long, env = "JOBWARDEN_REAPER_NAME", requires = "reaper_address", value_name = "NAME")]
    pub reaper_name: Option<String>,

    /// A file with the certificates (PEM) that vouch for the reaper
    #[arg(long, env = "JOBWARDEN_REAPER_CA_FILE", requires = "reaper_address", value_name = "FILE")]
    pub reaper_ca_file: Option<PathBuf>,
}

/// Why it is not known where the reaper is.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// There is no cluster to ask.
    #[error("cannot find the API server; run in a pod, or give --reaper-address, --reaper-name and --reaper-ca-file")]
    NoCluster(#[source] kube::Error),
    /// It could not be asked.
    #[error("cannot read ConfigMap {name}; the webhook writes it once it has made the certificates")]
    Read {
        /// Its name.
        name: &'static str,
        /// What the API server said.
        source: kube::Error,
    },
    /// It took too long.
    #[error("the API server did not answer within {} s", READ_TIMEOUT.as_secs())]
    TimedOut(#[from] Elapsed),
    /// It is not complete.
    #[error("ConfigMap {object} has no key {0}", object = object::REAPER_ENDPOINT)]
    Missing(&'static str),
    /// The CA file cannot be read.
    #[error("cannot read {}", file.display())]
    CaFile {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No certificate can carry such a name.
    #[error("{name:?} is no DNS name")]
    Name {
        /// As it was given.
        name: String,
        /// Why.
        source: InvalidDnsNameError,
    },
    /// The CA bundle is of no use.
    #[error("the CA bundle is of no use")]
    Ca(#[from] TlsError),
}

/// Whom to report to, and whom to trust there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `host:port` to dial.
    pub address: String,
    /// What the certificate must carry.
    pub server_name: ServerName<'static>,
    /// Who may have signed it.
    pub tls: Arc<ClientConfig>,
}

/// Where that is to be learned.
#[derive(Clone, Debug)]
pub enum Source {
    /// From flags; the file is read again each time.
    Flags {
        /// `host:port` to dial.
        address: String,
        /// What the certificate must carry.
        name: String,
        /// The CA bundle, PEM.
        ca_file: PathBuf,
    },
    /// From the `ConfigMap` [`object::REAPER_ENDPOINT`].
    Object(Api<ConfigMap>),
}

impl EndpointArgs {
    /// Where these flags say that it is to be learned.
    pub async fn source(self) -> Result<Source, EndpointError> {
        let Self { reaper_namespace, reaper_address, reaper_name, reaper_ca_file } = self;
        // clap sees to it that all three are given or none.
        if let (Some(address), Some(name), Some(ca_file)) = (reaper_address, reaper_name, reaper_ca_file) {
            return Ok(Source::Flags { address, name, ca_file });
        }
        let client = Client::try_default().await.map_err(EndpointError::NoCluster)?;
        Ok(Source::Object(Api::namespaced(client, &reaper_namespace)))
    }
}

impl Source {
    /// As it stands now.
    pub async fn read(&self) -> Result<Endpoint, EndpointError> {
        match self {
            Self::Flags { address, name, ca_file } => {
                let ca = tokio::fs::read_to_string(ca_file)
                    .await
                    .map_err(|source| EndpointError::CaFile { file: ca_file.clone(), source })?;
                Endpoint::new(address.clone(), name, &ca)
            }
            Self::Object(api) => {
                let name = object::REAPER_ENDPOINT;
                let object = timeout(READ_TIMEOUT, api.get(name)).await?;
                let object = object.map_err(|source| EndpointError::Read { name, source })?;
                Endpoint::from_object(&object.data.unwrap_or_default())
            }
        }
    }
}

impl Endpoint {
    fn new(address: String, name: &str, ca: &str) -> Result<Self, EndpointError> {
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|source| EndpointError::Name { name: name.to_owned(), source })?;
        Ok(Self { address, server_name, tls: Arc::new(tls::client_config(ca)?) })
    }

    fn from_object(data: &BTreeMap<String, String>) -> Result<Self, EndpointError> {
        let value = |key: &'static str| data.get(key).ok_or(EndpointError::Missing(key));
        Self::new(value(endpoint_key::ADDRESS)?.clone(), value(endpoint_key::SERVER_NAME)?, value(endpoint_key::CA)?)
    }

    /// Trusts this bundle from now on. An error leaves the old one in place.
    pub fn trust(&mut self, ca: &str) -> Result<(), EndpointError> {
        self.tls = Arc::new(tls::client_config(ca)?);
        Ok(())
    }
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
    fn a_whole_object_is_an_endpoint() {
        let endpoint = Endpoint::from_object(&data(&ca())).expect("whole");
        assert_eq!(endpoint.address, "10.96.0.7:8444");
        assert_eq!(endpoint.server_name.to_str(), "jobwarden-reaper.jobwarden.svc");
    }

    #[test]
    fn an_object_that_lacks_a_key_says_which() {
        for key in [endpoint_key::ADDRESS, endpoint_key::SERVER_NAME, endpoint_key::CA] {
            let mut data = data(&ca());
            data.remove(key);
            let error = Endpoint::from_object(&data).expect_err("a key is missing");
            assert!(matches!(error, EndpointError::Missing(missing) if missing == key), "{error}");
        }
    }

    #[test]
    fn a_bundle_of_no_use_leaves_the_old_one() {
        let mut endpoint = Endpoint::from_object(&data(&ca())).expect("whole");
        let before = Arc::clone(&endpoint.tls);
        assert!(endpoint.trust("nonsense").is_err());
        assert!(Arc::ptr_eq(&before, &endpoint.tls));
    }
}
