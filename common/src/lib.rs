//! The vocabulary of jobwarden: identities, names on the wire and wire types.
//!
//! Every string that leaves a process of ours (label, annotation, route, port, environment variable, reason) stands here
//! once, so that the parts cannot drift apart. There is no I/O and no Kubernetes client in this crate: the sidecar, which
//! has to stay tiny, depends on it as well.

#![deny(missing_docs)]

pub mod api;
pub mod beat;
pub mod identity;
pub mod names;
pub mod notification;
pub mod observation;
