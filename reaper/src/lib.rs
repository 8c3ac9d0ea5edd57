//! The reaper: combines heartbeats, agent reports and the status of Jobs, pods and nodes into one verdict per Job, fails and
//! cleans up lost Jobs, and notifies the orchestrator of the cause.
//!
//! Data flows one way through these modules:
//!
//! ```text
//!  watch ────┐
//!  intake ───┼─► observer ──JobSnapshot──► core::reconcile ──steps──► execute ──JobOutcome──► outbox ──► deliver
//!  self_beat ┘                                  ▲                        │
//!                                               └──────StepReport────────┘
//! ```
//!
//! [`jobwarden_core`] decides; the modules of this crate do the I/O and decide nothing.

pub mod api;
pub mod args;
pub mod backfill;
pub mod clock;
pub mod configuration;
pub mod controller;
pub mod deliver;
pub mod execute;
pub mod following;
pub mod intake;
pub mod job_monitor_variables;
pub mod metrics;
pub mod namespaces;
pub mod observer;
pub mod orphans;
pub mod outbox;
pub mod process;
pub mod self_beat;
pub mod unfollowed;
pub mod watch;

#[cfg(test)]
mod fake_api;
