//! What admission does to Jobs and pods, as pure functions of their JSON: no I/O, no clock, no API server.
//!
//! ```text
//!  config ──► identity   the IDs of a Job or pod  ──► patch   the changes to it
//!             view       the object, borrowed          ▲
//!             endpoint   where the reaper is ──────────┘
//! ```
//!
//! The webhook uses these functions to answer the API server, the offline `inject` command to show the result, and the reaper to
//! backfill Jobs that admission missed: the same code gives the same result.

pub mod config;
pub mod endpoint;
pub mod identity;
pub mod patch;
pub mod view;
