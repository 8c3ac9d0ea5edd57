//! CPU and memory of the sidecar.

use serde::Serialize;

/// CPU and memory of the sidecar. Requests equal limits, so that a Guaranteed pod stays Guaranteed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Resources<'a> {
    pub(super) cpu: &'a str,
    pub(super) memory: &'a str,
}
