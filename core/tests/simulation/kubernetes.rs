//! A model of Kubernetes: the objects in the API server, the controllers and the kubelets.
//!
//! Times and rules are those of Kubernetes 1.35; what is left to chance there is random here.

pub(crate) mod enrolment;
pub(crate) mod job_controller;
pub(crate) mod kubelet;
pub(crate) mod node_lifecycle;
pub(crate) mod objects;
