//! Facts: what a watched Kubernetes object says, reduced to what decisions need.

pub mod job;
pub mod node;
pub mod pod;
