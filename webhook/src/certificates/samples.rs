//! Certificates as the webhook makes them, for the tests of other crates.

use std::time::SystemTime;

use jobwarden_common::names::object;
use k8s_openapi::api::core::v1::Secret;

use super::{leaf, lifetime::Lifetimes, rotation::Rotation};

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
    let lifetimes = Lifetimes::default();
    let rotation = Rotation::begin(now, lifetimes).expect("key generation succeeds");
    let secret = |data| Secret { data: Some(data), ..Secret::default() };
    let serving = |service| {
        let names = leaf::names(service, namespace);
        let leaf = leaf::make(&rotation.current, rotation.cross_signed(), &names, lifetimes, now);
        secret(leaf.expect("signing succeeds").contents(&rotation.bundle()))
    };
    Certificates {
        webhook: serving(object::WEBHOOK_SERVICE),
        reaper: serving(object::REAPER_SERVICE),
        authority: secret(rotation.contents()),
    }
}
