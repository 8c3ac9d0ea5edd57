//! What a namespace allows: the bounds of its `LimitRanges` and `ResourceQuotas`, and a sidecar that fits into them.
//!
//! Without this the API server would reject pods because of the sidecar. A sidecar of a size that a container may not have gets
//! the nearest size that it may have. If no size is allowed, or the whole pod would exceed a bound because of the sidecar, the pod
//! gets no sidecar. `maxLimitRequestRatio` needs no check: requests and limits of the sidecar are equal.

mod amounts;
mod quota;
mod totals;

use std::sync::Arc;

use jobwarden_common::names::annotation;

use self::amounts::{ROUNDING, SHOWN_NAME, SHOWN_QUANTITY, truncated};
pub use self::quota::Quota;
pub(super) use self::{quota::Shortage, totals::Totals};
pub use super::resources::Resource;
use super::{
    quantity::Quantity,
    resources::{Requirements, Resources},
    sidecar::MIN_MEMORY_BYTES,
};

/// What a bound applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each container on its own (`type: Container`).
    Container,
    /// All containers of a pod together (`type: Pod`).
    Pod,
}

/// Which side a bound limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The minimum.
    Min,
    /// The maximum.
    Max,
}

/// One bound of a `LimitRange`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The name of the `LimitRange`.
    pub limit_range: String,
    /// What it applies to.
    pub scope: Scope,
    /// The bounded resource.
    pub resource: Resource,
    /// Minimum or maximum.
    pub side: Side,
    /// The value of the bound.
    pub quantity: Quantity,
}

/// The bounds of one namespace: of its `LimitRanges` the strictest for each scope, resource and side, so at most twelve; and its
/// quotas. Clones share them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    ranges: Arc<[Bound]>,
    quotas: Arc<[Quota]>,
}

/// A `LimitRange` does not allow the sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LimitViolation {
    limit_range: String,
    scope: Scope,
    /// Such as "at most 8Mi of memory".
    bound: String,
    /// What the sidecar needs of the resource.
    sidecar: String,
}

impl Bound {
    fn is_stricter_than(&self, other: &Self) -> bool {
        match self.side {
            Side::Min => self.quantity.value() > other.quantity.value(),
            Side::Max => self.quantity.value() < other.quantity.value(),
        }
    }

    fn allows(&self, size: f64) -> bool {
        match self.side {
            Side::Min => size >= self.quantity.value() * (1.0 - ROUNDING),
            Side::Max => size <= self.quantity.value() * (1.0 + ROUNDING),
        }
    }

    /// Whether a pod with these totals is allowed; follows `minConstraint` and `maxConstraint` of the plugin `LimitRanger`.
    fn allows_pod(&self, totals: &Totals) -> bool {
        let index = self.resource as usize;
        let (request, limit) = (totals.requests[index], totals.limits[index]);
        let (needed, other) = match self.side {
            Side::Min => (request, limit),
            Side::Max => (limit, request),
        };
        needed.is_some_and(|size| self.allows(size)) && other.is_none_or(|size| self.allows(size))
    }
}

impl FromIterator<Bound> for Bounds {
    fn from_iter<I: IntoIterator<Item = Bound>>(all: I) -> Self {
        Self { ranges: strictest(all), quotas: Arc::default() }
    }
}

/// The strictest of these bounds for each scope, resource and side.
pub fn strictest(all: impl IntoIterator<Item = Bound>) -> Arc<[Bound]> {
    let mut strictest: Vec<Bound> = Vec::new();
    for bound in all {
        let same_side = |it: &&mut Bound| (it.scope, it.resource, it.side) == (bound.scope, bound.resource, bound.side);
        match strictest.iter_mut().find(same_side) {
            Some(known) if bound.is_stricter_than(known) => *known = bound,
            Some(_) => {}
            None => strictest.push(bound),
        }
    }
    strictest.into()
}

impl Bounds {
    /// The bounds of `LimitRanges`, as [`strictest`] gives them, and of quotas.
    pub fn new(ranges: Arc<[Bound]>, quotas: Arc<[Quota]>) -> Self {
        Self { ranges, quotas }
    }

    /// The size nearest to `size` that a container may have.
    ///
    /// # Errors
    /// A `LimitRange` allows no size with which the sidecar can run.
    pub(super) fn fit<'a>(&'a self, mut size: Resources<'a>) -> Result<Resources<'a>, LimitViolation> {
        let containers = || self.ranges.iter().filter(|bound| bound.scope == Scope::Container);
        for bound in containers() {
            if let Some(amount) = size.get_mut(bound.resource).filter(|amount| !bound.allows(value(amount))) {
                *amount = bound.quantity.as_str();
            }
        }
        let fits = |bound: &&Bound| size.get(bound.resource).is_none_or(|amount| bound.allows(value(amount)));
        if let Some(bound) = containers().find(|bound| !fits(bound)) {
            return Err(LimitViolation::new(bound, size.get(bound.resource)));
        }
        if value(size.memory) < MIN_MEMORY_BYTES * (1.0 - ROUNDING) {
            let bound = containers().find(|bound| (bound.resource, bound.side) == (Resource::Memory, Side::Max));
            if let Some(bound) = bound {
                return Err(LimitViolation::new(bound, Some("12Mi")));
            }
        }
        Ok(size)
    }

    /// Whether anything here is about whole pods.
    pub(super) fn has_pod_bounds(&self) -> bool {
        !self.quotas.is_empty() || self.ranges.iter().any(|bound| bound.scope == Scope::Pod)
    }

    /// The first bound for whole pods that a pod with these totals meets without the sidecar and violates with it.
    pub(super) fn pod_violation(&self, without: &Totals, sidecar: &Requirements<'_>) -> Option<LimitViolation> {
        let with = without.with(sidecar);
        let mut pods = self.ranges.iter().filter(|bound| bound.scope == Scope::Pod);
        let violated = pods.find(|bound| bound.allows_pod(without) && !bound.allows_pod(&with))?;
        Some(LimitViolation::new(violated, sidecar.limits.get(violated.resource)))
    }

    /// The first quota that has room for a pod with these totals without the sidecar, and none with it; those that never have come
    /// first.
    pub(super) fn shortage(&self, without: &Totals, sidecar: &Requirements<'_>) -> Option<Shortage> {
        let mut shortages: Vec<Shortage> =
            self.quotas.iter().filter_map(|quota| quota.shortage(without, sidecar)).collect();
        shortages.sort_by_key(|shortage| !shortage.forever);
        shortages.into_iter().next()
    }
}

/// The value of an amount of the sidecar, which is always a valid quantity.
fn value(amount: &str) -> f64 {
    amount.parse::<Quantity>().map_or(0.0, |quantity| quantity.value())
}

impl LimitViolation {
    fn new(bound: &Bound, sidecar: Option<&str>) -> Self {
        let Bound { limit_range, scope, resource, side, quantity } = bound;
        let side = match side {
            Side::Min => "at least",
            Side::Max => "at most",
        };
        let quantity = truncated(quantity.as_str(), SHOWN_QUANTITY);
        Self {
            limit_range: truncated(limit_range, SHOWN_NAME),
            scope: *scope,
            bound: format!("{side} {quantity} of {}", resource.as_str()),
            sidecar: truncated(sidecar.unwrap_or("none"), SHOWN_QUANTITY),
        }
    }

    /// The warning for the creator of a Job or pod, at most 256 characters.
    pub(super) fn warning(&self) -> String {
        let Self { limit_range, scope, bound, sidecar } = self;
        let (scope, way_out) = match scope {
            Scope::Container => ("container", "change the LimitRange"),
            Scope::Pod => ("pod", "raise the LimitRange or request less"),
        };
        format!(
            "its pods get no jobwarden sidecar, only the node agent watches them: the LimitRange {limit_range:?} requires {bound} \
             per {scope}, and the sidecar needs {sidecar}; {way_out}"
        )
    }
}

/// That an annotation asks for another size than `default`, and a `LimitRange` forbids it.
pub(super) fn adjusted(asked: &Resources<'_>, given: &Resources<'_>, default: &Resources<'_>) -> Option<String> {
    let both = [
        (annotation::SIDECAR_CPU, asked.cpu, given.cpu, default.cpu),
        (annotation::SIDECAR_MEMORY, asked.memory, given.memory, default.memory),
    ];
    let (key, asked, given, _) =
        both.into_iter().find(|(_, asked, given, default)| asked != given && asked != default)?;
    let (asked, given) = (truncated(asked, SHOWN_QUANTITY), truncated(given, SHOWN_QUANTITY));
    Some(format!("{key}: a LimitRange of the namespace forbids {asked}; the jobwarden sidecar gets {given}"))
}

#[cfg(test)]
mod tests;
