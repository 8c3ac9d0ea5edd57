//! The mutating admission webhook.
//!
//! ```text
//!  API server ──AdmissionReview──► admission ──► jobwarden-inject   computes the patch (pure)
//!                                      ▲ reaper endpoint
//!  API server ◄──Secrets, caBundle── certificates
//!  API server ──LimitRanges, ResourceQuotas──► limits ──► admission
//! ```
//!
//! A request makes no API call and leaves nothing in memory, so memory does not grow with the cluster, except for its `LimitRanges` and
//! `ResourceQuotas`.

pub mod admission;
pub mod args;
pub mod certificates;
mod configuration;
pub mod limits;
mod serve;
pub mod settings;
