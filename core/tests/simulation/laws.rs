//! The laws that every history has to keep, each with its bound and the reason for it; see `docs/simulation.md`.

mod breaker;
mod dead_pods;
mod deadlines;
mod enrolment;
pub(crate) mod evaluations;
mod on_purpose;
pub(crate) mod outcomes;
mod stuck;
mod waiting;
