//! What the sidecar requests and may use.

use serde::Serialize;

/// What the sidecar requests or may use. Requests equal limits, so that a Guaranteed pod stays Guaranteed and no ratio of the two can
/// be too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Resources<'a> {
    pub(super) cpu: &'a str,
    pub(super) memory: &'a str,
    /// Only where the workload asks for it, too; see [`super::storage`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ephemeral_storage: Option<&'a str>,
}

/// Requests and limits of the sidecar, as in `core/v1.ResourceRequirements`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Requirements<'a> {
    pub(super) requests: Resources<'a>,
    pub(super) limits: Resources<'a>,
}

/// A resource that the sidecar asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// CPU, in cores.
    Cpu,
    /// Memory, in bytes.
    Memory,
    /// Ephemeral storage of the node, in bytes.
    EphemeralStorage,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::EphemeralStorage];

    /// The name in Kubernetes objects.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::EphemeralStorage => "ephemeral-storage",
        }
    }

    /// The name in messages.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::EphemeralStorage => "ephemeral storage",
        }
    }
}

impl<'a> Resources<'a> {
    /// The amount of `resource`.
    pub(super) fn get(&self, resource: Resource) -> Option<&'a str> {
        match resource {
            Resource::Cpu => Some(self.cpu),
            Resource::Memory => Some(self.memory),
            Resource::EphemeralStorage => self.ephemeral_storage,
        }
    }

    /// The place of the amount of `resource`; `None` if the sidecar does not ask for it.
    pub(super) fn get_mut(&mut self, resource: Resource) -> Option<&mut &'a str> {
        match resource {
            Resource::Cpu => Some(&mut self.cpu),
            Resource::Memory => Some(&mut self.memory),
            Resource::EphemeralStorage => self.ephemeral_storage.as_mut(),
        }
    }
}
