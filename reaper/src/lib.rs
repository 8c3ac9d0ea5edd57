//! The reaper: joins missing beats, Job, pod and node status and the agents' word into one verdict, fails and cleans up
//! lost Jobs, and never fails to tell the orchestrator why.
//!
//! Data takes one way through these rooms:
//!
//! ```text
//!  watches ─┐
//!  beats   ─┼─► observe ──Evidence──► judge ──Judgement──► enforce ──JobOutcome──► deliver ──► orchestrator
//!  agents  ─┘     │                (pure)                     │
//!                 └── usage ── peak memory of each job ───────┘
//! ```
//!
//! [`judge`] decides and does nothing else; the other rooms do and decide nothing.

pub mod api;
pub mod args;
pub mod configuration;
pub mod controller;
pub mod deliver;
pub mod enforce;
pub mod evidence;
pub mod explain;
pub mod guard;
pub mod judge;
pub mod metrics;
pub mod missed;
pub mod moment;
pub mod observe;
pub mod outcome;
pub mod policy;
pub mod process;
pub mod usage;
pub mod verdict;

#[cfg(test)]
mod fake_api;
