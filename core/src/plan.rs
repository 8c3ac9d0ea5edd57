//! Plans: the steps that follow from a judgement.
//!
//! Every step reads the live objects first ([`crate::second_look`]), is idempotent, and may fail half-way: the next plan continues
//! where the last one ended. The order is always: verdict written, outcome recorded, finalizer removed; delivery and deletion come
//! later.

mod draft;
mod messages;
mod planner;
mod protocol;
pub mod sequence;
pub mod step;

pub use self::{
    draft::add_late_success,
    planner::{plan, requeue_at, retained_until},
};
