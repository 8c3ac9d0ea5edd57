//! The vocabulary of jobwarden: IDs, names on the wire and wire types.
//!
//! Every name that leaves a jobwarden process (label, annotation, route, port, environment variable, reason) is defined here
//! once, so that the parts cannot drift apart. This crate has no I/O and no Kubernetes client: the sidecar, which must stay
//! tiny, depends on it.

#![deny(missing_docs)]

pub mod api;
pub mod beat;
pub mod choice;
pub mod identity;
pub mod names;
pub mod notification;
pub mod observation;
pub mod quantity;
#[cfg(feature = "schema")]
pub mod schema;
