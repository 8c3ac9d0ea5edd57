//! Where the reaper is, and how to know that it is the reaper.

use std::net::IpAddr;

use jobwarden_common::names::{object, port};

/// What a sidecar or an agent needs to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port` to dial: the `ClusterIP` of the reaper's Service, so that no DNS is needed.
    pub address: String,
    /// The DNS name that the reaper's certificate carries.
    pub server_name: String,
    /// The CA bundle that vouches for it, PEM.
    pub ca: String,
}

impl Endpoint {
    /// That of a reaper whose Service has this `ClusterIP` in `namespace`.
    pub fn new(cluster_ip: IpAddr, namespace: &str, ca: String) -> Self {
        let address = std::net::SocketAddr::new(cluster_ip, port::REAPER).to_string();
        Self { address, server_name: service_name(object::REAPER_SERVICE, namespace), ca }
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
        assert_eq!(endpoint.address, address);
        assert_eq!(endpoint.server_name, "jobwarden-reaper.jobwarden.svc");
    }
}
