//! What admission does to Jobs and pods, as pure functions of their JSON: no I/O, no clock, no API server.
//!
//! ```text
//!  config ──► identity   who is it?            ──► patch   what has to change?
//!             view       what was sent, borrowed    ▲
//!             endpoint   where the reaper is ───────┘
//! ```
//!
//! The webhook answers the API server with it, `jobwarden inject` does the same offline, and the reaper does it to Jobs
//! that admission has missed: one code, one result.

pub mod config;
pub mod endpoint;
pub mod identity;
pub mod patch;
pub mod view;
