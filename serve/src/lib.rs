//! What every jobwarden process shares, from start to shutdown.
//!
//! ```text
//!  logs      log lines, printed errors            tls       certificates that are replaced while a server runs
//!  shutdown  the shutdown request                 secret    certificates from a Secret that is watched
//!  accept    HTTP servers with limits and drain   admin     /livez /readyz
//!  client    HTTPS client with a token            lease     leader election
//!  reload    configuration files that change      field_manager  parameters of writes to the API server
//!  open_files  the limit on open files        scrape    /metrics
//!  signature   of notifications, by Standard Webhooks
//! ```
//!
//! A binary uses the modules that it needs and flattens their `…Args` into its own flags.

#![deny(missing_docs)]

pub mod accept;
pub mod admin;
pub mod client;
pub mod field_manager;
pub mod lease;
pub mod logs;
pub mod open_files;
pub mod reload;
pub mod scrape;
pub mod secret;
pub mod shutdown;
pub mod signature;
pub mod tls;
