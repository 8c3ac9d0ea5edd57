//! Enforcing: what a judgement means for the cluster, and doing it.
//!
//! [`plan()`] decides which steps follow from a judgement, [`Executor`] takes them. Every step reads the live objects
//! first, may be taken any number of times, and may fail half-way: the next plan takes up where the last one ended. The
//! order is always: verdict written, outcome recorded, finalizer removed; delivery and deletion come later.

mod draft;
mod execute;
mod plan;
mod step;

pub use self::{
    execute::{EnforceError, Executor, FailWith, Report},
    plan::{requeue_at, plan},
    step::{Draft, Notice, NoticeKey, PodRef, Recorded, Removal, Step},
};

#[cfg(test)]
pub(crate) mod fixtures;
