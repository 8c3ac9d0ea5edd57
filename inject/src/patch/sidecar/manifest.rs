//! What is written into a pod: the sidecar's container and its volume, in Kubernetes' own words.
//!
//! Types rather than `json!`, so that they are written straight into the patch: a value in between costs more than reading the pod.
//! What is the same in every pod is written once.

use std::sync::LazyLock;

use jobwarden_common::names::{SERVICE_ACCOUNT_DIR, SIDECAR_CONTAINER, TOKEN_AUDIENCE, TOKEN_VOLUME, sidecar_env};
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::{RESTART_POLICY, Resources, Sidecar};
use crate::endpoint::{Endpoint, Variable};

/// How long a token lasts, in seconds. A kubelet that is cut off cannot renew it, and its workers have to stay heard.
const TOKEN_SECONDS: u32 = 24 * 60 * 60;

/// The user that the sidecar runs as; not root, and what distroless images call `nonroot`.
const USER: u32 = 65532;

/// `core/v1.Container`, as far as the sidecar's goes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::patch) struct Manifest<'a> {
    name: &'static str,
    image: &'a str,
    image_pull_policy: &'static str,
    restart_policy: &'static str,
    env: Environment<'a>,
    resources: Requirements<'a>,
    security_context: &'static RawValue,
    termination_message_policy: &'static str,
    volume_mounts: &'static RawValue,
}

struct Environment<'a> {
    reaper: &'a Endpoint,
    interval_ms: String,
}

impl Serialize for Environment<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [address, name, ca] = self.reaper.variables();
        let interval = Variable { name: sidecar_env::INTERVAL_MS, value: &self.interval_ms };
        (address, name, ca, interval).serialize(serializer)
    }
}

#[derive(Serialize)]
struct Requirements<'a> {
    requests: Resources<'a>,
    limits: Resources<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SecurityContext {
    allow_privilege_escalation: bool,
    capabilities: Capabilities,
    read_only_root_filesystem: bool,
    run_as_non_root: bool,
    run_as_user: u32,
    seccomp_profile: SeccompProfile,
}

#[derive(Serialize)]
struct Capabilities {
    drop: [&'static str; 1],
}

#[derive(Serialize)]
struct SeccompProfile {
    r#type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    name: &'static str,
    #[serde(rename = "mountPath")]
    path: &'static str,
    read_only: bool,
}

static SECURITY_CONTEXT: LazyLock<Box<RawValue>> = LazyLock::new(|| {
    written(&SecurityContext {
        allow_privilege_escalation: false,
        capabilities: Capabilities { drop: ["ALL"] },
        read_only_root_filesystem: true,
        run_as_non_root: true,
        run_as_user: USER,
        seccomp_profile: SeccompProfile { r#type: "RuntimeDefault" },
    })
});

static VOLUME_MOUNTS: LazyLock<Box<RawValue>> =
    LazyLock::new(|| written(&[Mount { name: TOKEN_VOLUME, path: SERVICE_ACCOUNT_DIR, read_only: true }]));

fn written(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("texts, numbers and lists of them are always JSON")
}

/// A native sidecar that passes Pod Security `restricted`, whatever the pod's own security context says.
pub(in crate::patch) fn container<'a>(
    sidecar: &'a Sidecar,
    resources: Resources<'a>,
    reaper: &'a Endpoint,
) -> Manifest<'a> {
    let Sidecar { image, pull_policy, beat_interval, image_pull_secrets: _, cpu: _, memory: _, namespaces: _ } =
        sidecar;
    Manifest {
        name: SIDECAR_CONTAINER,
        image,
        image_pull_policy: pull_policy.as_str(),
        restart_policy: RESTART_POLICY,
        env: Environment { reaper, interval_ms: beat_interval.as_millis().to_string() },
        resources: Requirements { requests: resources, limits: resources },
        security_context: &SECURITY_CONTEXT,
        // There is no shell in the image to look around with: the last log lines are the message.
        termination_message_policy: "FallbackToLogsOnError",
        volume_mounts: &VOLUME_MOUNTS,
    }
}

/// `core/v1.Volume`, as far as the one with the sidecar's own token goes.
#[derive(Serialize)]
struct Volume {
    name: &'static str,
    projected: Projected,
}

#[derive(Serialize)]
struct Projected {
    sources: [Source; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    service_account_token: Token,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    audience: &'static str,
    expiration_seconds: u32,
    path: &'static str,
}

static VOLUME: LazyLock<Box<RawValue>> = LazyLock::new(|| {
    let token = Token { audience: TOKEN_AUDIENCE, expiration_seconds: TOKEN_SECONDS, path: "token" };
    written(&Volume { name: TOKEN_VOLUME, projected: Projected { sources: [Source { service_account_token: token }] } })
});

/// The volume with the sidecar's own token.
pub(in crate::patch) fn token_volume() -> &'static RawValue {
    &VOLUME
}
