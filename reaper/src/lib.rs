//! The reaper: joins missing beats, Job, pod and node status and what the agents observe into one verdict, fails and cleans up
//! lost Jobs, and always notifies the orchestrator why.
//!
//! Data flows one way through these rooms:
//!
//! ```text
//!  watch ────┐
//!  intake ───┼─► observer ──JobSnapshot──► core::reconcile ──steps──► execute ──JobOutcome──► outbox ──► deliver
//!  self_beat ┘                                  ▲                        │
//!                                               └──────StepReport────────┘
//! ```
//!
//! [`jobwarden_core`] decides; the rooms of this crate do the I/O and decide nothing.

pub mod api;
pub mod args;
pub mod backfill;
pub mod configuration;
pub mod controller;
pub mod deliver;
pub mod execute;
pub mod intake;
pub mod metrics;
pub mod observer;
pub mod outbox;
pub mod process;
pub mod self_beat;
pub mod watch;

#[cfg(test)]
mod fake_api;
