//! The manifest of the sidecar's container and its volume.
//!
//! Types rather than `json!` are serialised directly into the patch: an intermediate `Value` costs more than parsing the pod.
//! Parts that are the same in every pod are serialised once.

use std::sync::LazyLock;

use jobwarden_common::names::{
    SERVICE_ACCOUNT_DIR, SIDECAR_CONTAINER, TOKEN_AUDIENCE, TOKEN_FILE, TOKEN_VOLUME, sidecar_env,
};
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::{RESTART_POLICY, Sidecar};
use crate::{
    endpoint::{Endpoint, Variable},
    patch::{resources::Requirements, user::User},
};

/// Lifetime of the token, in seconds. A kubelet that is cut off cannot renew it, and its workers must keep sending beats.
const TOKEN_SECONDS: u32 = 24 * 60 * 60;

/// The fields of `core/v1.Container` that the sidecar uses.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::patch) struct Manifest<'a> {
    name: &'static str,
    image: &'a str,
    image_pull_policy: &'static str,
    restart_policy: &'static str,
    env: Environment<'a>,
    resources: Requirements<'a>,
    security_context: Context,
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

/// Satisfies Pod Security `restricted`. Without a user of its own the sidecar runs as the pod does, or else as its image says: that
/// user is a number, so that the kubelet can see that it is not root.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SecurityContext {
    allow_privilege_escalation: bool,
    capabilities: Capabilities,
    read_only_root_filesystem: bool,
    run_as_non_root: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_as_user: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_as_group: Option<i64>,
    seccomp_profile: SeccompProfile,
}

/// The security context of most sidecars is the same, and serialised once.
#[derive(Serialize)]
#[serde(untagged)]
enum Context {
    WithoutUser(&'static RawValue),
    WithUser(SecurityContext),
}

impl Context {
    fn of(user: User) -> Self {
        if user == User::default() {
            Self::WithoutUser(&WITHOUT_USER)
        } else {
            Self::WithUser(SecurityContext::of(user))
        }
    }
}

impl SecurityContext {
    fn of(user: User) -> Self {
        Self {
            allow_privilege_escalation: false,
            capabilities: Capabilities { drop: ["ALL"] },
            read_only_root_filesystem: true,
            run_as_non_root: true,
            run_as_user: user.user,
            run_as_group: user.group,
            seccomp_profile: SeccompProfile { r#type: "RuntimeDefault" },
        }
    }
}

static WITHOUT_USER: LazyLock<Box<RawValue>> = LazyLock::new(|| serialized(&SecurityContext::of(User::default())));

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

static VOLUME_MOUNTS: LazyLock<Box<RawValue>> =
    LazyLock::new(|| serialized(&[Mount { name: TOKEN_VOLUME, path: SERVICE_ACCOUNT_DIR, read_only: true }]));

fn serialized(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("strings, numbers and lists of them always serialise")
}

/// A native sidecar that passes Pod Security `restricted`, whatever the pod's own security context.
pub(in crate::patch) fn container<'a>(
    sidecar: &'a Sidecar,
    resources: Requirements<'a>,
    user: User,
    reaper: &'a Endpoint,
) -> Manifest<'a> {
    let Sidecar {
        image,
        pull_policy,
        beat_interval,
        image_pull_secrets: _,
        cpu: _,
        memory: _,
        namespaces: _,
        limits: _,
    } = sidecar;
    Manifest {
        name: SIDECAR_CONTAINER,
        image,
        image_pull_policy: pull_policy.as_str(),
        restart_policy: RESTART_POLICY,
        env: Environment { reaper, interval_ms: beat_interval.as_millis().to_string() },
        resources,
        security_context: Context::of(user),
        // The image has no shell to debug with: the last log lines become the termination message.
        termination_message_policy: "FallbackToLogsOnError",
        volume_mounts: &VOLUME_MOUNTS,
    }
}

/// The fields of `core/v1.Volume` for the volume with the sidecar's own token.
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
    let token = Token { audience: TOKEN_AUDIENCE, expiration_seconds: TOKEN_SECONDS, path: TOKEN_FILE };
    serialized(&Volume {
        name: TOKEN_VOLUME,
        projected: Projected { sources: [Source { service_account_token: token }] },
    })
});

/// The volume with the sidecar's own token.
pub(in crate::patch) fn token_volume() -> &'static RawValue {
    &VOLUME
}
