//! Why admission denies an object.

use jobwarden_common::names::{SIDECAR_CONTAINER, TOKEN_VOLUME, label};

use super::limits::LimitViolation;

/// Why admission denies an object. The text is for the creator of the object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Another container has the sidecar's name.
    #[error("the container name {SIDECAR_CONTAINER:?} is reserved for the jobwarden sidecar; rename the container, or opt out \
             with the label {opt_out}: \"false\"", opt_out = label::INJECT)]
    ContainerName,
    /// Another volume has the name of the sidecar's volume.
    #[error("the volume name {TOKEN_VOLUME:?} is reserved for the jobwarden sidecar; rename the volume, or opt out with the \
             label {opt_out}: \"false\"", opt_out = label::INJECT)]
    VolumeName,
    /// A `LimitRange` does not allow the sidecar's size.
    #[error(transparent)]
    Size(#[from] LimitViolation),
}
