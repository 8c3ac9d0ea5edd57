//! What admission changes: explicit RFC 6902 operations on the object as it was sent.
//!
//! ```text
//!  job         admission of a Job                       stamp          labels and annotations
//!  pod         admission of a pod                       sidecar        the container, its volume, its pull secrets
//!  mutation    what admission did, and why not          user           whom the sidecar runs as
//!  denial      why admission denies an object           resources      what the sidecar requests
//!  operations  builds a JSON patch                      storage        whether it requests storage
//!  overrides   annotations that override policy         fit            whether a pod can have it without harm
//!  settings    settings of the installation             limits         LimitRanges and ResourceQuotas
//!  enrolment   who opts in or out                       pod_resources  what a pod requests as a whole
//!  windows     pods that are not for Linux              on_failure     Jobs whose retries the sidecar would use up
//!  quantity    Kubernetes quantities                    toleration     of nodes that are away
//!  size_limits what annotations may ask for
//! ```
//!
//! Property tests hold these laws: patching twice equals patching once; everything that was in the object stays (except what
//! `toleration`, `pod_resources` and [`sidecar`] explain); every operation changes something. Everything here is pure.

mod denial;
mod enrolment;
mod fit;
pub mod job;
pub mod limits;
mod mutation;
pub mod on_failure;
mod operations;
mod overrides;
pub mod pod;
mod pod_resources;
mod resources;
mod settings;
pub mod sidecar;
pub mod size_limits;
mod stamp;
mod storage;
mod toleration;
mod user;
mod windows;

pub use jobwarden_common::quantity;

pub use self::{
    denial::Denial,
    mutation::{Effect, Harm, Mutation, Skip},
    operations::Operations,
    settings::Settings,
};
