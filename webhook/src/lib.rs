//! The mutating admission webhook.
//!
//! ```text
//!  API server ──AdmissionReview──► admission ──► jobwarden-inject   what has to change? (pure)
//!                                      ▲ where is the reaper?
//!  API server ◄──Secrets, caBundle── certificates
//! ```
//!
//! A request makes no API call and leaves nothing in memory, so the webhook's size does not depend on the cluster's.

pub mod admission;
pub mod args;
pub mod certificates;
mod configuration;
mod documents;
pub mod offline;
mod serve;
mod settings;
