//! Where the reaper is, and how to know that it is the reaper.

use std::net::IpAddr;

use jobwarden_common::names::{object, port, sidecar_env};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// What a sidecar or an agent needs to report.
#[derive(Clone, Debug)]
pub struct Endpoint {
    address: String,
    server_name: String,
    ca: String,
    variables: [Box<RawValue>; 3],
}

/// `core/v1.EnvVar`, as far as ours go.
#[derive(Serialize)]
pub(crate) struct Variable<'a> {
    pub(crate) name: &'static str,
    pub(crate) value: &'a str,
}

impl Endpoint {
    /// That of a reaper whose Service has this `ClusterIP` in `namespace`.
    pub fn new(cluster_ip: IpAddr, namespace: &str, ca: String) -> Self {
        let address = std::net::SocketAddr::new(cluster_ip, port::REAPER).to_string();
        Self::of_parts(address, service_name(object::REAPER_SERVICE, namespace), ca)
    }

    /// An endpoint that somebody else has put together.
    pub fn of_parts(address: String, server_name: String, ca: String) -> Self {
        let variables =
            [(sidecar_env::REAPER_ADDRESS, &address), (sidecar_env::REAPER_NAME, &server_name), (sidecar_env::CA, &ca)]
                .map(|(name, value)| to_raw_value(&Variable { name, value }).expect("two strings are always JSON"));
        Self { address, server_name, ca, variables }
    }

    /// `host:port` to dial: the `ClusterIP` of the reaper's Service, so that no DNS is needed.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The DNS name that the reaper's certificate carries.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// The CA bundle that vouches for it, PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// The same as a sidecar hears of it: environment variables, written once and not with each pod.
    pub(crate) fn variables(&self) -> &[Box<RawValue>; 3] {
        &self.variables
    }
}

/// The variables say the same once more.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        (&self.address, &self.server_name, &self.ca) == (&other.address, &other.server_name, &other.ca)
    }
}

/// The DNS name by which the API server and the sidecars know a Service; the cluster's domain is not part of it.
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
    fn the_address_can_be_dialled(#[case] ip: &str, #[case] address: &str) {
        let endpoint = Endpoint::new(ip.parse().expect("an address"), "jobwarden", String::new());
        assert_eq!(endpoint.address(), address);
        assert_eq!(endpoint.server_name(), "jobwarden-reaper.jobwarden.svc");
    }
}
