//! The mutating admission webhook.
//!
//! ```text
//!  API server ──AdmissionReview──► admission ──view──► identity   who is it?
//!                                      ▲        └────► patch      what has to change? (pure)
//!  API server ◄──Secrets, caBundle── certificates ──► endpoint    where is the reaper?
//! ```
//!
//! A request makes no API call and leaves nothing in memory, so the webhook's size does not depend on the cluster's.

pub mod admission;
pub mod args;
pub mod certificates;
pub mod endpoint;
pub mod identity;
pub mod patch;
pub mod view;
