//! Settings of an installation for admission.

use std::time::Duration;

use super::{on_failure::OnFailure, sidecar::Sidecar};
use crate::identity::Rules;

/// Settings of an installation for admission.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to find IDs.
    pub rules: Rules,
    /// Whether Jobs get the finalizer that keeps them until their outcome is recorded.
    pub finalizer: bool,
    /// How long worker pods tolerate a node that is unreachable or not ready; zero leaves their tolerations unchanged.
    pub unreachable_grace: Duration,
    /// What watches the pods of Jobs that restart their containers in place.
    pub on_failure: OnFailure,
    /// The sidecar of every worker pod.
    pub sidecar: Sidecar,
}
