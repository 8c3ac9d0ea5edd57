//! The sidecar: its container, its volume, and whether a pod has it already.

pub(super) mod manifest;

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use jobwarden_common::names::{SIDECAR_CONTAINER, TOKEN_AUDIENCE, TOKEN_VOLUME, sidecar_env};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{
    Denial,
    quantity::{Quantity, QuantityError},
};
use crate::view::{Container, Lazy, PodSpec, Volume};

/// The least memory a container may be given, in bytes: runc itself needs that much to start one, and runtimes refuse less.
pub const LEAST_MEMORY: f64 = 12.0 * 1024.0 * 1024.0;

/// What makes an init container a native sidecar (KEP-753).
pub(super) const RESTART_POLICY: &str = "Always";

/// Told to whoever creates a pod whose sidecar another webhook has made an init container that would never end.
pub(super) const STRIPPED: &str = "another admission webhook took restartPolicy from the init container jobwarden-heartbeat; it was put back. \
     Update that webhook: it drops fields that it does not know, and without this one the pod would wait for ever";

/// The sidecar of an installation.
#[derive(Clone, Debug)]
pub struct Sidecar {
    /// Its image.
    pub image: String,
    /// When the kubelet pulls it.
    pub pull_policy: PullPolicy,
    /// Secrets of the pod's namespace to pull it with.
    pub image_pull_secrets: Vec<String>,
    /// CPU request and limit.
    pub cpu: Quantity,
    /// Memory request and limit, at least [`LEAST_MEMORY`].
    pub memory: Quantity,
    /// Where it gets another size.
    pub namespaces: BTreeMap<String, Size>,
    /// Time between beats.
    pub beat_interval: Duration,
}

impl Sidecar {
    /// CPU and memory of a sidecar in `namespace`, unless an annotation says otherwise.
    pub fn size_in(&self, namespace: &str) -> (&Quantity, &Quantity) {
        let own = self.namespaces.get(namespace);
        let (cpu, memory) = (own.and_then(|size| size.cpu.as_ref()), own.and_then(|size| size.memory.as_ref()));
        (cpu.unwrap_or(&self.cpu), memory.unwrap_or(&self.memory))
    }
}

/// What the sidecars of a namespace get instead of the installation's; what is absent is the installation's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// CPU request and limit.
    pub cpu: Option<Quantity>,
    /// Memory request and limit, at least [`LEAST_MEMORY`].
    #[serde(default, deserialize_with = "memory")]
    pub memory: Option<Quantity>,
}

/// A text that is no size of a sidecar's memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// It is no quantity.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// No container starts with that.
    #[error("{0} is below 12Mi, the least that container runtimes take")]
    TooLittle(String),
}

/// Reads the size of a sidecar's memory.
pub fn parse_memory(text: &str) -> Result<Quantity, MemoryError> {
    let memory: Quantity = text.parse()?;
    if memory.value() < LEAST_MEMORY { Err(MemoryError::TooLittle(text.to_owned())) } else { Ok(memory) }
}

fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Quantity>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_memory(&text).map(Some).map_err(D::Error::custom)
}

/// When the kubelet pulls an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before every start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Never: the node has it.
    Never,
}

/// A text that is no pull policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of Always, IfNotPresent and Never")]
pub struct PullPolicyError(String);

impl FromStr for PullPolicy {
    type Err = PullPolicyError;

    fn from_str(text: &str) -> Result<Self, PullPolicyError> {
        let all = [Self::Always, Self::IfNotPresent, Self::Never];
        all.into_iter().find(|policy| policy.as_str() == text).ok_or_else(|| PullPolicyError(text.to_owned()))
    }
}

impl PullPolicy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Requests and limits alike, so that a Guaranteed pod stays Guaranteed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Resources<'a> {
    pub(super) cpu: &'a str,
    pub(super) memory: &'a str,
}

/// What a pod has of the sidecar already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It has no sidecar.
    Absent {
        /// It has the sidecar's volume nevertheless.
        volume: bool,
    },
    /// It has one, maybe changed by other webhooks since.
    There,
    /// It has one that is no native sidecar any more: the init container at `index` lacks its restart policy.
    Stripped {
        /// Which init container.
        index: usize,
    },
}

/// What `spec` has of the sidecar; refused where something else has its name.
pub(super) fn presence(spec: &PodSpec<'_>) -> Result<Presence, Denial> {
    let named = |containers: &Option<Vec<Container<'_>>>| {
        containers.iter().flatten().any(|container| container.name == *SIDECAR_CONTAINER)
    };
    if named(&spec.containers) || named(&spec.ephemeral_containers) {
        return Err(Denial::ContainerName);
    }
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == *TOKEN_VOLUME);
    if volume.is_some_and(|volume| !is_our_volume(volume)) {
        return Err(Denial::VolumeName);
    }
    let mut init_containers = spec.init_containers.iter().flatten().enumerate();
    let Some((index, container)) = init_containers.find(|(_, it)| it.name == *SIDECAR_CONTAINER) else {
        return Ok(Presence::Absent { volume: volume.is_some() });
    };
    let ours = volume.is_some() && is_our_container(container);
    match container.restart_policy.as_deref() {
        Some(RESTART_POLICY) if ours => Ok(Presence::There),
        None if ours => Ok(Presence::Stripped { index }),
        _ => Err(Denial::ContainerName),
    }
}

/// By its shape, not by its image: that differs between versions of ours, and other webhooks rewrite it to a mirror's.
fn is_our_container(container: &Container<'_>) -> bool {
    let mounts = container.volume_mounts.as_ref().and_then(Lazy::read).unwrap_or_default();
    let variables = container.env.as_ref().and_then(Lazy::read).unwrap_or_default();
    mounts.iter().any(|mount| mount.name == *TOKEN_VOLUME)
        && variables.iter().any(|variable| variable.name == *sidecar_env::REAPER_ADDRESS)
}

fn is_our_volume(volume: &Volume<'_>) -> bool {
    let sources = volume.projected.as_ref().and_then(Lazy::read).and_then(|projected| projected.sources);
    let mut tokens = sources.iter().flatten().filter_map(|source| source.service_account_token.as_ref());
    tokens.any(|token| token.audience.as_deref() == Some(TOKEN_AUDIENCE))
}
