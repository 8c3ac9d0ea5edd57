//! Where the reaper is, and how to authenticate it.

use std::net::IpAddr;

use jobwarden_common::names::{object, port, sidecar_env};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// What a sidecar or an agent needs to connect to the reaper.
#[derive(Clone, Debug)]
pub struct Endpoint {
    address: String,
    server_name: String,
    ca: String,
    /// Whether it only stands in for one that is not known.
    placeholder: bool,
    variables: [Box<RawValue>; 3],
}

/// The fields of `core/v1.EnvVar` that the sidecar uses.
#[derive(Serialize)]
pub(crate) struct Variable<'a> {
    pub(crate) name: &'static str,
    pub(crate) value: &'a str,
}

impl Endpoint {
    /// The endpoint of a reaper whose Service in `namespace` has this `ClusterIP`.
    ///
    /// # Panics
    /// Never: two strings always serialise.
    pub fn new(cluster_ip: IpAddr, namespace: &str, ca: String) -> Self {
        let address = std::net::SocketAddr::new(cluster_ip, port::REAPER).to_string();
        Self::from_parts(address, service_name(object::REAPER_SERVICE, namespace), ca)
    }

    /// An endpoint from its parts: `host:port`, the name in the certificate, and the CA bundle (PEM).
    ///
    /// # Panics
    /// Never: two strings always serialise.
    pub fn from_parts(address: String, server_name: String, ca: String) -> Self {
        let variables =
            [(sidecar_env::REAPER_ADDRESS, &address), (sidecar_env::REAPER_NAME, &server_name), (sidecar_env::CA, &ca)]
                .map(|(name, value)| to_raw_value(&Variable { name, value }).expect("two strings are always JSON"));
        Self { address, server_name, ca, placeholder: false, variables }
    }

    /// An endpoint that stands in for one that is not known.
    #[must_use]
    pub fn as_placeholder(self) -> Self {
        Self { placeholder: true, ..self }
    }

    /// Whether this endpoint only stands in for one that is not known.
    pub fn is_placeholder(&self) -> bool {
        self.placeholder
    }

    /// `host:port` to connect to: the `ClusterIP` of the reaper's Service, so that no DNS lookup is needed.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The DNS name in the reaper's certificate.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// The CA bundle that verifies the certificate, PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// The same variables with their values.
    pub(crate) fn values(&self) -> [Variable<'_>; 3] {
        let Self { address, server_name, ca, .. } = self;
        [(sidecar_env::REAPER_ADDRESS, address), (sidecar_env::REAPER_NAME, server_name), (sidecar_env::CA, ca)]
            .map(|(name, value)| Variable { name, value })
    }

    /// The endpoint as environment variables of the sidecar, serialised once and not for each pod.
    pub(crate) fn variables(&self) -> &[Box<RawValue>; 3] {
        &self.variables
    }
}

/// The variables are derived from the other fields.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        (&self.address, &self.server_name, &self.ca) == (&other.address, &other.server_name, &other.ca)
    }
}

/// The DNS name by which the API server and the sidecars address a Service, without the cluster domain.
pub fn service_name(service: &str, namespace: &str) -> String {
    format!("{service}.{namespace}.svc")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.96.0.7", "10.96.0.7:8444")]
    #[case("fd00::7", "[fd00::7]:8444")]
    fn the_address_has_a_port_and_brackets_for_ipv6(#[case] ip: &str, #[case] address: &str) {
        let endpoint = Endpoint::new(ip.parse().expect("an address"), "jobwarden", String::new());
        assert_eq!(endpoint.address(), address);
        assert_eq!(endpoint.server_name(), "jobwarden-reaper.jobwarden.svc");
    }
}
