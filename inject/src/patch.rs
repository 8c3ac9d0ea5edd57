//! What admission changes: explicit RFC 6902 operations on the object as it was sent.
//!
//! ```text
//!  job         admission of a Job                       stamp       labels and annotations
//!  pod         admission of a pod                       sidecar     the container, its volume, its pull secrets
//!  mutation    what admission did, and why not          resources   what the container requests
//!  denial      why admission denies an object           toleration  of an unreachable node
//!  operations  builds a JSON patch                      quantity    Kubernetes quantities
//!  overrides   annotations that override policy         limits      LimitRanges and the sidecar
//!  settings    settings of the installation
//! ```
//!
//! Property tests hold these laws: patching twice equals patching once; everything that was in the object stays (except the one
//! toleration that [`toleration`] explains); every operation changes something. Everything here is pure.

mod denial;
pub mod job;
pub mod limits;
mod mutation;
mod operations;
mod overrides;
pub mod pod;
pub mod quantity;
mod resources;
mod settings;
pub mod sidecar;
mod stamp;
pub mod toleration;

pub use self::{
    denial::Denial,
    mutation::{Effect, Mutation, Skip},
    operations::Operations,
    settings::Settings,
};
