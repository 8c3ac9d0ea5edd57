//! The bounds that the `LimitRanges` of a namespace set for a container.
//!
//! The API server also rejects a pod with a sidecar of the wrong size, but its message names neither the container nor a
//! solution. `maxLimitRequestRatio` needs no check: requests and limits of the sidecar are equal.

use jobwarden_common::names::annotation;

use super::{quantity::Quantity, resources::Resources};

/// Relative difference up to which two quantities are equal, such as `0.007` and `7m`.
const ROUNDING: f64 = 1e-9;

/// The longest name that a warning shows, in characters. The API server truncates warnings at 256 characters.
const SHOWN_NAME: usize = 40;

/// The longest quantity that a message shows, in characters.
const SHOWN_QUANTITY: usize = 12;

/// The bounded resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// CPU, in cores.
    Cpu,
    /// Memory, in bytes.
    Memory,
}

/// Which side a bound limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The minimum of a container.
    Min,
    /// The maximum of a container.
    Max,
}

/// One bound that a `LimitRange` of type `Container` sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The name of the `LimitRange`.
    pub limit_range: String,
    /// The bounded resource.
    pub resource: Resource,
    /// Minimum or maximum.
    pub side: Side,
    /// The value of the bound.
    pub quantity: Quantity,
}

/// The bounds of one namespace: the strictest for each resource and side, so at most four.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds(Vec<Bound>);

/// A `LimitRange` does not allow the size of the sidecar. The text is for the creator of the pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the LimitRange {limit_range:?} requires {bound} per container, but the jobwarden sidecar gets {size}; set \
     sidecar.namespaces.{namespace} in the jobwarden configuration (chart value of the same name), or the annotation \
     {annotation} on the Job",
    annotation = resource.annotation()
)]
pub struct LimitViolation {
    namespace: String,
    limit_range: String,
    resource: Resource,
    /// Such as "at least 64Mi of memory".
    bound: String,
    /// The size of the sidecar.
    size: String,
}

impl Resource {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
        }
    }

    /// The annotation by which a Job sets this resource of its sidecars.
    const fn annotation(self) -> &'static str {
        match self {
            Self::Cpu => annotation::SIDECAR_CPU,
            Self::Memory => annotation::SIDECAR_MEMORY,
        }
    }
}

impl Bound {
    fn is_stricter_than(&self, other: &Self) -> bool {
        match self.side {
            Side::Min => self.quantity.value() > other.quantity.value(),
            Side::Max => self.quantity.value() < other.quantity.value(),
        }
    }

    fn allows(&self, size: &Quantity) -> bool {
        match self.side {
            Side::Min => size.value() >= self.quantity.value() * (1.0 - ROUNDING),
            Side::Max => size.value() <= self.quantity.value() * (1.0 + ROUNDING),
        }
    }
}

impl FromIterator<Bound> for Bounds {
    fn from_iter<I: IntoIterator<Item = Bound>>(all: I) -> Self {
        let mut strictest: Vec<Bound> = Vec::new();
        for bound in all {
            let same_side = |it: &&mut Bound| (it.resource, it.side) == (bound.resource, bound.side);
            match strictest.iter_mut().find(same_side) {
                Some(known) if bound.is_stricter_than(known) => *known = bound,
                Some(_) => {}
                None => strictest.push(bound),
            }
        }
        Self(strictest)
    }
}

impl Bounds {
    /// The first bound that a sidecar of this size violates in `namespace`, to which these bounds belong.
    pub(super) fn violation(&self, namespace: &str, sidecar: &Resources<'_>) -> Option<LimitViolation> {
        self.0.iter().find_map(|bound| {
            let size = match bound.resource {
                Resource::Cpu => sidecar.cpu,
                Resource::Memory => sidecar.memory,
            };
            // A sidecar's size is always a valid quantity.
            let violated = size.parse().is_ok_and(|size| !bound.allows(&size));
            violated.then(|| LimitViolation::new(namespace, bound, size))
        })
    }
}

impl LimitViolation {
    fn new(namespace: &str, bound: &Bound, size: &str) -> Self {
        let Bound { limit_range, resource, side, quantity } = bound;
        let side = match side {
            Side::Min => "at least",
            Side::Max => "at most",
        };
        let quantity = truncated(quantity.as_str(), SHOWN_QUANTITY);
        Self {
            namespace: namespace.to_owned(),
            limit_range: limit_range.clone(),
            resource: *resource,
            bound: format!("{side} {quantity} of {}", resource.as_str()),
            size: truncated(size, SHOWN_QUANTITY),
        }
    }

    /// The warning for the creator of a Job, at most 256 characters: not the Job is denied, but its pods.
    pub(super) fn warning(&self) -> String {
        let Self { namespace: _, limit_range, resource, bound, size } = self;
        format!(
            "its pods will be denied: LimitRange {:?} requires {bound}, the sidecar gets {size}; set \
             sidecar.namespaces in the jobwarden configuration, or the annotation {}",
            truncated(limit_range, SHOWN_NAME),
            resource.annotation(),
        )
    }
}

/// `text`, truncated to `max` characters.
fn truncated(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{
        Resource::{Cpu, Memory},
        Side::{Max, Min},
        *,
    };

    const SIDECAR: Resources<'static> = Resources { cpu: "10m", memory: "16Mi" };

    fn bound(limit_range: &str, resource: Resource, side: Side, quantity: &str) -> Bound {
        let quantity = quantity.parse().expect("a quantity");
        Bound { limit_range: limit_range.to_owned(), resource, side, quantity }
    }

    #[rstest]
    #[case::memory_below(bound("floor", Memory, Min, "64Mi"), "at least 64Mi of memory", "16Mi", "sidecar-memory")]
    #[case::cpu_above(bound("floor", Cpu, Max, "5m"), "at most 5m of CPU", "10m", "sidecar-cpu")]
    fn a_violation_names_the_limit_range_its_bound_and_both_solutions(
        #[case] bound: Bound,
        #[case] required: &str,
        #[case] size: &str,
        #[case] annotation: &str,
    ) {
        let violation = Bounds::from_iter([bound]).violation("work", &SIDECAR).expect("a violation");
        assert_eq!(
            violation.to_string(),
            format!(
                "the LimitRange \"floor\" requires {required} per container, but the jobwarden sidecar gets {size}; set \
                 sidecar.namespaces.work in the jobwarden configuration (chart value of the same name), or the annotation \
                 jobwarden.io/{annotation} on the Job"
            )
        );
        assert_eq!(
            violation.warning(),
            format!(
                "its pods will be denied: LimitRange \"floor\" requires {required}, the sidecar gets \
                 {size}; set sidecar.namespaces in the jobwarden configuration, or the annotation jobwarden.io/{annotation}"
            )
        );
    }

    #[rstest]
    #[case::above_the_minimum(bound("a", Memory, Min, "15Mi"))]
    #[case::the_minimum(bound("a", Memory, Min, "16Mi"))]
    #[case::the_minimum_written_differently(bound("a", Memory, Min, "16777216"))]
    #[case::the_maximum(bound("a", Memory, Max, "16384Ki"))]
    #[case::the_maximum_written_differently(bound("a", Cpu, Max, "0.01"))]
    #[case::the_minimum_of_cpu_written_differently(bound("a", Cpu, Min, "10000u"))]
    fn a_sidecar_within_the_bounds_is_allowed(#[case] bound: Bound) {
        assert_eq!(Bounds::from_iter([bound]).violation("work", &SIDECAR), None);
    }

    #[rstest]
    #[case::min([("weak", Min, "32Mi"), ("strict", Min, "64Mi")])]
    #[case::min_in_reverse_order([("strict", Min, "64Mi"), ("weak", Min, "32Mi")])]
    #[case::max([("weak", Max, "12Mi"), ("strict", Max, "4Mi")])]
    #[case::only_one_side_matters([("strict", Min, "32Mi"), ("weak", Max, "1Gi")])]
    fn the_strictest_bound_applies(#[case] bounds: [(&str, Side, &str); 2]) {
        let bounds: Bounds =
            bounds.into_iter().map(|(name, side, quantity)| bound(name, Memory, side, quantity)).collect();
        let violation = bounds.violation("work", &SIDECAR).expect("a violation");
        assert_eq!(violation.limit_range, "strict");
    }

    #[test]
    fn a_warning_never_exceeds_the_length_limit_of_the_api_server() {
        let digits = "1".repeat(200);
        let sidecar = Resources { cpu: "10m", memory: &digits };
        let bounds = Bounds::from_iter([bound(&"n".repeat(253), Memory, Max, &"1".repeat(100))]);
        let violation = bounds.violation(&"w".repeat(63), &sidecar).expect("a violation");
        assert!(violation.warning().chars().count() <= 256, "{}", violation.warning());
        assert!(
            violation.warning().ends_with("or the annotation jobwarden.io/sidecar-memory"),
            "{}",
            violation.warning()
        );
    }
}
