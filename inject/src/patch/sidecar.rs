//! The sidecar: its settings, and whether a pod already has it.

pub(super) mod manifest;

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use jobwarden_common::names::{SIDECAR_CONTAINER, TOKEN_AUDIENCE, TOKEN_VOLUME, sidecar_env};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    denial::Denial,
    operations::{Operations, Path},
    quantity::{Quantity, QuantityError},
    size_limits::SizeLimits,
};
use crate::{
    endpoint::{Endpoint, Variable},
    view::{Container, EnvVar, Lazy, PodSpec, Volume},
};

/// The longest address that a warning shows, in characters.
const SHOWN_ADDRESS: usize = 40;

/// The minimum memory of a container, in bytes: runc itself needs that much to start one, and runtimes reject less.
pub const MIN_MEMORY_BYTES: f64 = 12.0 * 1024.0 * 1024.0;

/// What makes an init container a native sidecar (KEP-753).
pub(super) const RESTART_POLICY: &str = "Always";

/// The warning for a pod whose sidecar another webhook turned into a plain init container, which would never complete.
pub(super) const RESTART_POLICY_REMOVED: &str = "another admission webhook removed restartPolicy from the init container jobwarden-heartbeat; \
     jobwarden restored it. Update that webhook: it drops unknown fields, and without restartPolicy the pod never starts its main containers";

/// The sidecar settings of an installation.
#[derive(Clone, Debug)]
pub struct Sidecar {
    /// The image.
    pub image: String,
    /// When the kubelet pulls the image.
    pub pull_policy: PullPolicy,
    /// Names of the pull secrets for the image, in the pod's namespace.
    pub image_pull_secrets: Vec<String>,
    /// CPU request and limit.
    pub cpu: Quantity,
    /// Memory request and limit, at least [`MIN_MEMORY_BYTES`].
    pub memory: Quantity,
    /// Sizes by namespace that differ from these.
    pub namespaces: BTreeMap<String, Size>,
    /// The sizes that annotations may ask for.
    pub limits: SizeLimits,
    /// Time between beats.
    pub beat_interval: Duration,
}

impl Sidecar {
    /// CPU and memory of a sidecar in `namespace`, before annotations.
    pub fn size_in(&self, namespace: &str) -> (&Quantity, &Quantity) {
        let own = self.namespaces.get(namespace);
        let (cpu, memory) = (own.and_then(|size| size.cpu.as_ref()), own.and_then(|size| size.memory.as_ref()));
        (cpu.unwrap_or(&self.cpu), memory.unwrap_or(&self.memory))
    }
}

/// The size of the sidecars in a namespace; an absent value is that of the installation.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// CPU request and limit.
    pub cpu: Option<Quantity>,
    /// Memory request and limit, at least [`MIN_MEMORY_BYTES`].
    #[serde(default, deserialize_with = "memory")]
    pub memory: Option<Quantity>,
}

/// A text that is not a valid memory size for the sidecar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The text is not a quantity.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// No container starts with so little memory.
    #[error("{0} is below 12Mi, the minimum of container runtimes")]
    BelowMinimum(String),
}

/// Parses the memory size of the sidecar.
///
/// # Errors
/// The text is not a quantity, or less than [`MIN_MEMORY_BYTES`].
pub fn parse_memory(text: &str) -> Result<Quantity, MemoryError> {
    let memory: Quantity = text.parse()?;
    if memory.value() < MIN_MEMORY_BYTES { Err(MemoryError::BelowMinimum(text.to_owned())) } else { Ok(memory) }
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
    /// When the node does not have the image.
    IfNotPresent,
    /// Never: the node must have the image.
    Never,
}

/// A text that is not a valid pull policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of Always, IfNotPresent, Never")]
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

/// Whether a pod already has the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// The pod has no sidecar.
    Absent {
        /// Whether it has the sidecar's volume nevertheless.
        volume: bool,
    },
    /// The pod has the sidecar at this index of its init containers, possibly changed by other webhooks.
    Present {
        /// Index of the init container.
        index: usize,
    },
    /// The pod's sidecar is no longer a native sidecar: the init container at `index` lacks its restart policy.
    RestartPolicyRemoved {
        /// Index of the init container.
        index: usize,
    },
}

/// Whether `spec` has the sidecar. Denied if another container or volume has its name, or if the sidecar cannot work as it is.
pub(super) fn presence(spec: &PodSpec<'_>) -> Result<Presence, Denial> {
    let named = |containers: &Option<Vec<Container<'_>>>| {
        containers.iter().flatten().any(|container| container.name == *SIDECAR_CONTAINER)
    };
    if named(&spec.containers) || named(&spec.ephemeral_containers) {
        return Err(Denial::ContainerName);
    }
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == *TOKEN_VOLUME);
    let mut init_containers = spec.init_containers.iter().flatten().enumerate();
    let Some((index, container)) = init_containers.find(|(_, it)| it.name == *SIDECAR_CONTAINER) else {
        return match volume {
            Some(volume) if !is_our_volume(volume) => Err(Denial::VolumeName),
            _ => Ok(Presence::Absent { volume: volume.is_some() }),
        };
    };
    if !is_our_container(container) {
        return Err(Denial::ContainerName);
    }
    if !volume.is_some_and(is_our_volume) {
        return Err(Denial::Mangled { part: "the volume with the token" });
    }
    if !mounts_token(container) {
        return Err(Denial::Mangled { part: "the volume mounts" });
    }
    match container.restart_policy.as_deref() {
        Some(RESTART_POLICY) => Ok(Presence::Present { index }),
        None => Ok(Presence::RestartPolicyRemoved { index }),
        Some(_) => Err(Denial::Mangled { part: "the restartPolicy" }),
    }
}

/// Recognises the container by its environment, not by its image: the image differs between versions, and other webhooks rewrite
/// it to that of a mirror.
fn is_our_container(container: &Container<'_>) -> bool {
    environment(container).iter().any(|variable| variable.name == *sidecar_env::REAPER_ADDRESS)
}

fn mounts_token(container: &Container<'_>) -> bool {
    let mounts = container.volume_mounts.as_ref().and_then(Lazy::parse).unwrap_or_default();
    mounts.iter().any(|mount| mount.name == *TOKEN_VOLUME)
}

fn environment<'a>(container: &Container<'a>) -> Vec<EnvVar<'a>> {
    container.env.as_ref().and_then(Lazy::parse).unwrap_or_default()
}

fn is_our_volume(volume: &Volume<'_>) -> bool {
    let sources = volume.projected.as_ref().and_then(Lazy::parse).and_then(|projected| projected.sources);
    let mut tokens = sources.iter().flatten().filter_map(|source| source.service_account_token.as_ref());
    tokens.any(|token| token.audience.as_deref() == Some(TOKEN_AUDIENCE))
}

/// Makes the sidecar that is there, at `index`, connect to `reaper`: a pod may have been copied from another cluster, or from this
/// one when it had another CA. Returns the warning for the creator, if there is a difference.
pub(super) fn renew(
    operations: &mut Operations,
    spec: &PodSpec<'_>,
    index: usize,
    reaper: &Endpoint,
) -> Option<String> {
    const INIT_CONTAINERS: Path<'static> = &["spec", "initContainers"];
    let environment = environment(spec.init_containers.as_ref()?.get(index)?);
    let position = |name: &str| environment.iter().position(|variable| variable.name == *name);
    let address = position(sidecar_env::REAPER_ADDRESS).and_then(|index| environment[index].value.as_deref());
    let address: String = address.unwrap_or("?").escape_debug().take(SHOWN_ADDRESS).collect();
    let differs = |wanted: &Variable<'_>| {
        position(wanted.name).and_then(|index| environment[index].value.as_deref()) != Some(wanted.value)
    };
    let wanted: Vec<Variable<'_>> = reaper.values().into_iter().filter(differs).collect();
    if wanted.is_empty() {
        return None;
    }
    if reaper.is_placeholder() {
        return Some(format!(
            "the pod has a jobwarden sidecar already, for the reaper at {address}; whether that is the one of its cluster is unknown here"
        ));
    }
    let index = index.to_string();
    for variable in wanted {
        let path = [INIT_CONTAINERS, &[&index, "env"]].concat();
        match position(variable.name) {
            Some(position) => operations.replace(&[&path[..], &[&position.to_string()]].concat(), variable),
            None => operations.insert(Some(&environment), &path, false, variable),
        }
    }
    Some(format!(
        "the pod came with a jobwarden sidecar of another installation, or of an earlier state of this one, for the reaper at {address}; \
         it has been given the address and CA of this one"
    ))
}
