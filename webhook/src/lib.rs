//! The mutating admission webhook.
//!
//! ```text
//!  API server ──AdmissionReview──► admission ──► jobwarden-inject   what has to change? (pure)
//!                                      ▲ where is the reaper?
//!  API server ◄──Secrets, caBundle── certificates
//!  API server ──LimitRanges──► limits ──► admission
//! ```
//!
//! A request makes no API call and leaves nothing in memory, so the webhook's size does not depend on the cluster's, but
//! for its `LimitRanges`.

pub mod admission;
pub mod args;
pub mod certificates;
mod check;
mod configuration;
mod documents;
pub mod limits;
pub mod offline;
mod serve;
mod settings;
