//! Whether the sidecar asks for ephemeral storage.
//!
//! It does if the workload does, and for the same of requests and limits. Otherwise it must not: the kubelet evicts a pod that
//! uses more than the *sum* of the limits of its containers (`podEphemeralStorageLimitEviction`), so the limit of the sidecar
//! alone would be the limit of a worker that has none; and a node that does not report its storage, such as a virtual kubelet,
//! takes no pod that requests any. Where a `LimitRange` has a default, every container of the workload has it before a webhook sees
//! the pod; the sidecar then has its own small amount instead of that default.

use super::resources::Resource;
use crate::view::{Amount, Lazy, Pairs, PodSpec};

/// What the sidecar asks for: its log, at most one line a minute, for two months.
pub(super) const AMOUNT: &str = "16Mi";

/// Whether the sidecar asks for ephemeral storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) requested: bool,
    pub(super) limited: bool,
}

impl Storage {
    /// That of a sidecar beside the containers of `spec`.
    pub(super) fn beside(spec: &PodSpec<'_>) -> Self {
        let key = Resource::EphemeralStorage.key();
        let has =
            |amounts: &Option<Pairs<'_, Amount<'_>>>| amounts.as_ref().is_some_and(|all| all.value(key).is_some());
        let mut storage = Self::default();
        for container in [&spec.containers, &spec.init_containers].into_iter().flatten().flatten() {
            let resources = container.resources.as_ref().filter(|resources| resources.mentions(key));
            let Some(resources) = resources.and_then(Lazy::parse) else { continue };
            storage.limited |= has(&resources.limits);
            storage.requested |= has(&resources.requests);
        }
        // The API server sets a request that is absent to the limit.
        storage.requested |= storage.limited;
        storage
    }
}
