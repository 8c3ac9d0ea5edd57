//! The IDs that an orchestrator knows a Job or pod by: run, job and trace.
//!
//! ```text
//!  rules         all rules in order, and what they find      rule      where to look, and which part of the value to take
//!  explanation   which rule found which ID, for people       pointer   a path to one value in JSON
//!  preset        rules for well-known orchestrators
//! ```
//!
//! The first rule that yields a value wins. Jobwarden's own annotations and labels come before all rules: they state the
//! IDs explicitly.

mod explanation;
pub mod pointer;
pub mod preset;
pub mod rule;
mod rules;

pub use self::{
    explanation::Explanation,
    rule::MAX_ID_BYTES,
    rules::{Identity, IdentityConfig, Rules},
};
