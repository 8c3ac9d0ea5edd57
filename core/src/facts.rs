//! Facts: a watched Kubernetes object, reduced to what decisions need.

pub mod job;
pub mod membership;
pub mod node;
pub mod pod;
