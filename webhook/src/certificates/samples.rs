//! Certificates as a webhook makes them, for the tests of other rooms.

use std::time::SystemTime;

use jobwarden_common::names::object;
use k8s_openapi::api::core::v1::Secret;

use super::{Lifetimes, leaf, rotation::Rotation};

/// The Secrets of an installation.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) authority: Secret,
    pub(crate) webhook: Secret,
    pub(crate) reaper: Secret,
}

/// Those that are made in `namespace` at `now`.
pub(crate) fn certificates(namespace: &str, now: SystemTime) -> Certificates {
    let lifetimes = Lifetimes::default();
    let rotation = Rotation::begin(now, lifetimes).expect("made");
    let secret = |data| Secret { data: Some(data), ..Secret::default() };
    let serving = |service| {
        let names = leaf::names(service, namespace);
        let leaf = leaf::make(&rotation.current, rotation.vouched(), &names, lifetimes, now).expect("made");
        secret(leaf.contents(&rotation.bundle()))
    };
    Certificates {
        webhook: serving(object::WEBHOOK_SERVICE),
        reaper: serving(object::REAPER_SERVICE),
        authority: secret(rotation.contents()),
    }
}
