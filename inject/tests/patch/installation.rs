//! An installation for the ORT server with every feature enabled. The golden tests of the webhook and the fuzz target share it.

use std::{collections::BTreeMap, time::Duration};

use jobwarden_inject::{
    config::IdentityConfig,
    endpoint::Endpoint,
    identity::{Rules, preset::Preset},
    patch::{
        Settings,
        on_failure::OnFailure,
        sidecar::{PullPolicy, Sidecar},
    },
};

/// The settings of the installation.
pub(crate) fn settings() -> Settings {
    Settings {
        rules: Rules::new(IdentityConfig { preset: Preset::OrtServer, ..IdentityConfig::default() }),
        finalizer: true,
        unreachable_grace: Duration::from_hours(1),
        on_failure: OnFailure::Auto,
        sidecar: Sidecar {
            image: "registry.example.com/jobwarden-sidecar:1".to_owned(),
            pull_policy: PullPolicy::IfNotPresent,
            image_pull_secrets: vec!["registry".to_owned()],
            cpu: "10m".parse().expect("a quantity"),
            memory: "16Mi".parse().expect("a quantity"),
            namespaces: BTreeMap::new(),
            limits: jobwarden_inject::patch::size_limits::SizeLimits::default(),
            beat_interval: Duration::from_secs(10),
        },
    }
}

/// The endpoint of its reaper.
pub(crate) fn reaper() -> Endpoint {
    let ip = "10.96.0.7".parse().expect("an address");
    Endpoint::new(ip, "jobwarden", "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n".to_owned())
}
