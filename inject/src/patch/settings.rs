//! Settings of an installation for admission.

use std::time::Duration;

use super::sidecar::Sidecar;
use crate::identity::Rules;

/// Settings of an installation for admission.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to find IDs.
    pub rules: Rules,
    /// Whether Jobs get the finalizer that keeps them until their outcome is recorded.
    pub finalizer: bool,
    /// How long worker pods tolerate an unreachable node; zero leaves their tolerations unchanged.
    pub unreachable_grace: Duration,
    /// The sidecar of every worker pod.
    pub sidecar: Sidecar,
}
