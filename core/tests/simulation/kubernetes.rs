//! A model of Kubernetes: what its API server holds, and what its controllers and kubelets make of it.
//!
//! Times and rules are those of Kubernetes 1.35; where it leaves something to chance, so does the model.

pub(crate) mod job_controller;
pub(crate) mod kubelet;
pub(crate) mod node_lifecycle;
pub(crate) mod objects;
pub(crate) mod pod;
