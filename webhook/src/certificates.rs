//! The webhook's own certificates, made and rotated without cert-manager.
//!
//! ```text
//!  controller   reconciles everything below       publication  caBundle and reaper endpoint, as other components read them
//!  rotation     replaces one CA by the next       inspection   read-only view of the Secrets, for `jobwarden check`
//!  authority    a certificate authority           metrics      expiry times
//!  constraints  the names that it may sign for    clock        the API server's time
//!  leaf         a serving certificate             secrets      fill the Secrets, safely with several replicas
//! ```
//!
//! Reconciliation is level-triggered: every pass compares the objects with what they should be and repairs the difference. So it
//! does not matter which replica reconciles, how often, or where the last pass was interrupted.

mod args;
mod authority;
mod clock;
mod constraints;
mod contents;
mod controller;
mod error;
mod inspection;
mod leaf;
mod lifetime;
mod metrics;
mod pem;
mod publication;
mod rotation;
#[cfg(feature = "samples")]
pub mod samples;
mod secrets;

pub(crate) use self::args::CertificateArgs;
pub use self::{
    args::LifetimeError,
    controller::{Controller, Source},
    inspection::{Serving, Signing},
    lifetime::Lifetimes,
    metrics::Metrics,
};

#[cfg(test)]
mod tests;
