//! Whether a pod can have the sidecar without harm, and with which resources.

use super::{
    limits::{self, Bounds, Shortage, Totals},
    mutation::Harm,
    pod_resources::{CannotRaise, Raised},
    resources::{Requirements, Resources},
    storage::{self, Storage},
};
use crate::view::PodSpec;

/// A sidecar that fits.
#[derive(Debug)]
pub(super) struct Fitted<'a> {
    pub(super) requirements: Requirements<'a>,
    /// What the pod as a whole requests with it.
    pub(super) raised: Raised,
    /// That a size was asked for that the namespace does not allow.
    pub(super) adjusted: Option<String>,
    /// A quota that has no room for the sidecar at the moment.
    pub(super) shortage: Option<Shortage>,
}

/// The sidecar would harm the pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) harm: Harm,
    /// The warning for the creator, at most 256 characters.
    pub(super) warning: String,
}

const UNREADABLE: &str = "its pods get no jobwarden sidecar, only the node agent watches them: jobwarden cannot raise spec.resources of the pod \
     by what the sidecar needs; write its amounts as quantities such as 500m or 1Gi";

/// Fits a sidecar into a pod with this spec. Its size is `size`, and `default` if nobody had asked for another.
pub(super) fn fit<'a>(
    spec: &PodSpec<'_>,
    size: Resources<'a>,
    default: &Resources<'_>,
    bounds: Option<&'a Bounds>,
) -> Result<Fitted<'a>, Unfit> {
    let Storage { requested, limited } = Storage::beside(spec);
    let size = Resources { ephemeral_storage: requested.then_some(storage::AMOUNT), ..size };
    let fitting = match bounds {
        None => size,
        Some(bounds) => bounds.fit(size).map_err(|it| Unfit { harm: Harm::LimitRange, warning: it.warning() })?,
    };
    let limits = Resources { ephemeral_storage: fitting.ephemeral_storage.filter(|_| limited), ..fitting };
    let requirements = Requirements { requests: fitting, limits };
    let raised = Raised::by(spec, &requirements)
        .map_err(|CannotRaise| Unfit { harm: Harm::PodResources, warning: UNREADABLE.to_owned() })?;
    let mut shortage = None;
    if let Some(bounds) = bounds.filter(|bounds| bounds.has_pod_bounds()) {
        let totals = Totals::of(spec);
        if let Some(violation) = bounds.pod_violation(&totals, &requirements) {
            return Err(Unfit { harm: Harm::LimitRange, warning: violation.warning() });
        }
        shortage = bounds.shortage(&totals, &requirements);
        if let Some(shortage) = shortage.as_ref().filter(|shortage| shortage.forever) {
            return Err(Unfit { harm: Harm::ResourceQuota, warning: shortage.warning() });
        }
    }
    Ok(Fitted { requirements, raised, adjusted: limits::adjusted(&size, &fitting, default), shortage })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_fits_the_length_limit_of_the_api_server() {
        assert!(UNREADABLE.len() <= 256, "{} characters", UNREADABLE.len());
    }
}
