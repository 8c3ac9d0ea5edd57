//! Why admission denies an object.

use jobwarden_common::names::{SIDECAR_CONTAINER, TOKEN_VOLUME, label};

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
    /// The sidecar is there, and cannot work as it is.
    #[error("another admission webhook, or an edit of a copied pod, has changed {part} of the jobwarden sidecar so that it cannot \
             work; make that webhook leave the container {SIDECAR_CONTAINER:?} and the volume {TOKEN_VOLUME:?} alone, or opt out \
             with the label {opt_out}: \"false\"; `jobwarden check` lists the webhooks that are called for pods", opt_out = label::INJECT)]
    Mangled {
        /// What has been changed.
        part: &'static str,
    },
}
