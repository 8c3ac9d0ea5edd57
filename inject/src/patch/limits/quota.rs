//! `ResourceQuotas` without room for the sidecar.

use super::{
    amounts::{ROUNDING, SHOWN_NAME, SHOWN_QUANTITY, truncated},
    totals::Totals,
};
use crate::patch::{
    quantity::Quantity,
    resources::{Requirements, Resource},
};

/// One bound of a `ResourceQuota` without scopes.
#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    /// Name of the quota.
    pub name: String,
    /// The key in `spec.hard`, such as `limits.cpu`.
    pub key: String,
    /// How much all pods of the namespace may have together.
    pub hard: Quantity,
    /// How much of it is used; zero if unknown.
    pub used: f64,
}

/// A pod has room in the quota without the sidecar, and none with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::patch) struct Shortage {
    quota: String,
    key: String,
    hard: String,
    sidecar: String,
    /// Whether the pod has no room even if it is the only one.
    pub(in crate::patch) forever: bool,
}

impl Quota {
    /// The resource that a key in `spec.hard` is about, and whether it bounds limits; `None` for anything that a sidecar does not
    /// need.
    pub fn resource(key: &str) -> Option<(Resource, bool)> {
        let (name, limits) = match key.split_once('.') {
            Some(("limits", name)) => (name, true),
            Some(("requests", name)) => (name, false),
            _ => (key, false),
        };
        Resource::ALL.into_iter().find(|resource| resource.key() == name).map(|resource| (resource, limits))
    }

    /// The shortage in this quota, if any.
    pub(super) fn shortage(&self, without: &Totals, sidecar: &Requirements<'_>) -> Option<Shortage> {
        let (resource, limits) = Self::resource(&self.key)?;
        let with = without.with(sidecar);
        let of = |totals: &Totals| (if limits { totals.limits } else { totals.requests })[resource as usize];
        let hard = self.hard.value() * (1.0 + ROUNDING);
        // A pod without an amount is rejected, or not counted, whether it has the sidecar or not.
        let (before, after) = (of(without)?, of(&with)?);
        let short = |used: f64| before + used <= hard && after + used > hard;
        let forever = short(0.0);
        (forever || short(self.used)).then(|| Shortage {
            quota: truncated(&self.name, SHOWN_NAME),
            key: self.key.clone(),
            hard: truncated(self.hard.as_str(), SHOWN_QUANTITY),
            sidecar: truncated(
                if limits { sidecar.limits } else { sidecar.requests }.get(resource).unwrap_or("0"),
                SHOWN_QUANTITY,
            ),
            forever,
        })
    }
}

impl Shortage {
    /// The warning for the creator of a Job, at most 256 characters.
    pub(in crate::patch) fn warning(&self) -> String {
        let Self { quota, key, hard, sidecar, forever } = self;
        if *forever {
            format!(
                "its pods get no jobwarden sidecar, only the node agent watches them: with the sidecar ({sidecar}) they exceed \
                 {key}={hard} of the ResourceQuota {quota:?}; raise it or request less"
            )
        } else {
            format!(
                "its pods wait for room: {key}={hard} of the ResourceQuota {quota:?} is used up but for the jobwarden sidecar \
                 ({sidecar}); raise it, request less, or opt out with the label jobwarden.io/inject: \"false\""
            )
        }
    }
}
