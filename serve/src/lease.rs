//! Leader election by a Lease (`coordination.k8s.io/v1`), with the rules of client-go.
//!
//! Clocks of different machines are never compared: a standby takes the Lease once *it* has not observed a change of it for the
//! duration of the Lease; a leader that could not renew steps down earlier than that. As with client-go, a process that was
//! paused for longer and resumes in the middle of a write is not stopped: writes need preconditions.

mod args;
mod candidate;
mod election;
mod leadership;
mod machine;

pub use self::{args::LeaseArgs, election::Election, leadership::Leadership};

#[cfg(test)]
mod tests;
