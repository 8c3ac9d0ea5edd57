//! What the `LimitRanges` of a namespace allow a container.
//!
//! The API server would refuse a pod with a sidecar of the wrong size as well, but its text names neither the container nor the
//! way out. `maxLimitRequestRatio` is no matter: requests and limits of the sidecar are alike.

use jobwarden_common::names::annotation;

use super::{quantity::Quantity, sidecar::Resources};

/// By how much two quantities may differ that are the same written in two ways, such as `0.007` and `7m`; relative.
const ROUNDING: f64 = 1e-9;

/// The longest parts of a name and of a quantity that a text repeats, in characters. The API server cuts warnings off at 256.
const SHOWN: (usize, usize) = (40, 12);

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// CPU, in cores.
    Cpu,
    /// Memory, in bytes.
    Memory,
}

/// On which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A container has to have as much.
    Min,
    /// A container may have as much.
    Max,
}

/// One bound that a `LimitRange` of type `Container` sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The name of the `LimitRange`.
    pub limit_range: String,
    /// Of what.
    pub resource: Resource,
    /// From below or from above.
    pub side: Side,
    /// How much.
    pub quantity: Quantity,
}

/// The bounds of one namespace: of each resource and side the strictest, so four at most.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds(Vec<Bound>);

/// A sidecar that a `LimitRange` does not allow. The text is for whoever created the pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the LimitRange {limit_range:?} allows a container {bound}, and jobwarden's sidecar would get {size}; set \
     sidecar.namespaces.{namespace} in jobwarden's configuration (chart value of the same name), or the annotation \
     {annotation} on the Job",
    annotation = resource.annotation()
)]
pub struct Refusal {
    namespace: String,
    limit_range: String,
    resource: Resource,
    /// Such as "no less than 64Mi of memory".
    bound: String,
    /// What the sidecar would get.
    size: String,
}

impl Resource {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
        }
    }

    /// By which a Job chooses how much of it the sidecar gets.
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
            let alike = |it: &&mut Bound| (it.resource, it.side) == (bound.resource, bound.side);
            match strictest.iter_mut().find(alike) {
                Some(known) if bound.is_stricter_than(known) => *known = bound,
                Some(_) => {}
                None => strictest.push(bound),
            }
        }
        Self(strictest)
    }
}

impl Bounds {
    /// Why a sidecar of this size is not allowed in `namespace`, whose bounds these are.
    pub(super) fn refusal(&self, namespace: &str, sidecar: &Resources<'_>) -> Option<Refusal> {
        self.0.iter().find_map(|bound| {
            let size = match bound.resource {
                Resource::Cpu => sidecar.cpu,
                Resource::Memory => sidecar.memory,
            };
            // What is no quantity never becomes a sidecar's size.
            let refused = size.parse().is_ok_and(|size| !bound.allows(&size));
            refused.then(|| Refusal::new(namespace, bound, size))
        })
    }
}

impl Refusal {
    fn new(namespace: &str, bound: &Bound, size: &str) -> Self {
        let Bound { limit_range, resource, side, quantity } = bound;
        let than = match side {
            Side::Min => "less",
            Side::Max => "more",
        };
        let quantity = cut(quantity.as_str(), SHOWN.1);
        Self {
            namespace: namespace.to_owned(),
            limit_range: limit_range.clone(),
            resource: *resource,
            bound: format!("no {than} than {quantity} of {}", resource.as_str()),
            size: cut(size, SHOWN.1),
        }
    }

    /// What whoever creates a Job is told, in 256 characters at most: its pods are what is refused, not the Job.
    pub(super) fn warning(&self) -> String {
        let Self { namespace: _, limit_range, resource, bound, size } = self;
        format!(
            "its pods will be refused: LimitRange {:?} allows {bound}, the sidecar gets {size}; set sidecar.namespaces in \
             jobwarden's configuration, or the annotation {}",
            cut(limit_range, SHOWN.0),
            resource.annotation(),
        )
    }
}

/// `text` if it is short, else its beginning.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
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
    #[case::memory_below(
        bound("floor", Memory, Min, "64Mi"),
        "the LimitRange \"floor\" allows a container no less than 64Mi of memory, and jobwarden's sidecar would get 16Mi; set \
         sidecar.namespaces.work in jobwarden's configuration (chart value of the same name), or the annotation \
         jobwarden.io/sidecar-memory on the Job",
        "its pods will be refused: LimitRange \"floor\" allows no less than 64Mi of memory, the sidecar gets 16Mi; set \
         sidecar.namespaces in jobwarden's configuration, or the annotation jobwarden.io/sidecar-memory"
    )]
    #[case::cpu_above(
        bound("roof", Cpu, Max, "5m"),
        "the LimitRange \"roof\" allows a container no more than 5m of CPU, and jobwarden's sidecar would get 10m; set \
         sidecar.namespaces.work in jobwarden's configuration (chart value of the same name), or the annotation \
         jobwarden.io/sidecar-cpu on the Job",
        "its pods will be refused: LimitRange \"roof\" allows no more than 5m of CPU, the sidecar gets 10m; set \
         sidecar.namespaces in jobwarden's configuration, or the annotation jobwarden.io/sidecar-cpu"
    )]
    fn a_refusal_says_who_what_and_the_way_out(#[case] bound: Bound, #[case] denial: &str, #[case] warning: &str) {
        let refusal = Bounds::from_iter([bound]).refusal("work", &SIDECAR).expect("a refusal");
        assert_eq!((refusal.to_string().as_str(), refusal.warning().as_str()), (denial, warning));
    }

    #[rstest]
    #[case::more_than_the_least(bound("a", Memory, Min, "15Mi"))]
    #[case::the_least(bound("a", Memory, Min, "16Mi"))]
    #[case::the_least_in_other_words(bound("a", Memory, Min, "16777216"))]
    #[case::the_most(bound("a", Memory, Max, "16384Ki"))]
    #[case::the_most_in_other_words(bound("a", Cpu, Max, "0.01"))]
    #[case::the_least_cpu_in_other_words(bound("a", Cpu, Min, "10000u"))]
    fn what_is_within_is_allowed(#[case] bound: Bound) {
        assert_eq!(Bounds::from_iter([bound]).refusal("work", &SIDECAR), None);
    }

    #[rstest]
    #[case::min([("weak", Min, "32Mi"), ("strict", Min, "64Mi")])]
    #[case::min_in_other_order([("strict", Min, "64Mi"), ("weak", Min, "32Mi")])]
    #[case::max([("weak", Max, "12Mi"), ("strict", Max, "4Mi")])]
    #[case::only_one_side_matters([("strict", Min, "32Mi"), ("weak", Max, "1Gi")])]
    fn the_strictest_bound_counts(#[case] bounds: [(&str, Side, &str); 2]) {
        let bounds: Bounds =
            bounds.into_iter().map(|(name, side, quantity)| bound(name, Memory, side, quantity)).collect();
        let refusal = bounds.refusal("work", &SIDECAR).expect("a refusal");
        assert_eq!(refusal.limit_range, "strict");
    }

    #[test]
    fn no_warning_is_too_long_for_the_api_server() {
        let digits = "1".repeat(200);
        let sidecar = Resources { cpu: "10m", memory: &digits };
        let bounds = Bounds::from_iter([bound(&"n".repeat(253), Memory, Max, &"1".repeat(100))]);
        let refusal = bounds.refusal(&"w".repeat(63), &sidecar).expect("a refusal");
        assert!(refusal.warning().chars().count() <= 256, "{}", refusal.warning());
        assert!(refusal.warning().ends_with("or the annotation jobwarden.io/sidecar-memory"), "{}", refusal.warning());
    }
}
