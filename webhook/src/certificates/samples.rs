//! Certificates as the webhook makes them, for the tests of other crates.

use std::time::SystemTime;

use jobwarden_common::names::object;
use jobwarden_inject::endpoint::service_name;
use k8s_openapi::api::core::v1::Secret;

use super::{
    leaf,
    lifetime::{Lifetimes, Terms},
    rotation::Rotation,
};

/// The Secrets of an installation.
#[derive(Debug)]
pub struct Certificates {
    /// The authority.
    pub authority: Secret,
    /// The webhook's serving certificate.
    pub webhook: Secret,
    /// The reaper's serving certificate.
    pub reaper: Secret,
}

/// The certificates of an installation in `namespace`, made at `now`.
pub fn certificates(namespace: &str, now: SystemTime) -> Certificates {
    let terms = Terms { namespace, lifetimes: Lifetimes::default() };
    let rotation = Rotation::begin(now, terms).expect("key generation succeeds");
    let secret = |data| Secret { data: Some(data), ..Secret::default() };
    let serving = |service| {
        let name = service_name(service, namespace);
        let leaf = leaf::make(&rotation.current, rotation.cross_signed(), &name, terms.lifetimes, now);
        secret(leaf.expect("signing succeeds").contents(&rotation.bundle()))
    };
    Certificates {
        webhook: serving(object::WEBHOOK_SERVICE),
        reaper: serving(object::REAPER_SERVICE),
        authority: secret(rotation.contents()),
    }
}
