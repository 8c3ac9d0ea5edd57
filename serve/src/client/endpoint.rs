//! Where a server is, and which certificates it may present.

use std::sync::Arc;

use rustls::{
    ClientConfig,
    pki_types::{InvalidDnsNameError, ServerName},
};

use crate::tls::{TlsError, client_config};

/// Why an endpoint is invalid.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// No certificate can carry this name.
    #[error("{name:?} is not a DNS name")]
    Name {
        /// The name.
        name: String,
        /// Why.
        source: InvalidDnsNameError,
    },
    /// The CA bundle is invalid.
    #[error("invalid CA bundle")]
    Ca(#[from] TlsError),
}

/// Where a server is, and which certificates it may present.
#[derive(Clone, Debug)]
pub struct Endpoint {
    address: String,
    server_name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

impl Endpoint {
    /// The server at `address` (`host:port`), whose certificate must carry `name` and be signed by a CA of this bundle (PEM).
    pub fn new(address: String, name: &str, ca_pem: &str) -> Result<Self, EndpointError> {
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|source| EndpointError::Name { name: name.to_owned(), source })?;
        Ok(Self { address, server_name, tls: Arc::new(client_config(ca_pem)?) })
    }

    /// Trusts this bundle (PEM) from the next connection on. After an error the previous bundle stays in effect.
    pub fn trust(&mut self, ca_pem: &str) -> Result<(), EndpointError> {
        self.tls = Arc::new(client_config(ca_pem)?);
        Ok(())
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The name that the certificate must carry.
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.server_name
    }

    pub(super) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }
}
