//! How a process of jobwarden lives.
//!
//! ```text
//!  logs      what it says                         tls     who it is: certificates that are swapped while it serves
//!  shutdown  when it ends, and how long it drains  secret  where they come from: a Secret that is watched
//!  admin     /livez /readyz /metrics              accept  HTTPS with limits for hostile clients
//!  file      what it is told, while it changes    lease   who leads
//!  open_files  how many connections it may have
//! ```
//!
//! Every module stands by itself; a binary takes the ones it needs and flattens their `…Args` into its own flags.

#![deny(missing_docs)]

pub mod accept;
pub mod admin;
pub mod field_manager;
pub mod file;
pub mod lease;
pub mod logs;
pub mod open_files;
pub mod secret;
pub mod shutdown;
pub mod tls;
