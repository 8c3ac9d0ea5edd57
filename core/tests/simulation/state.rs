//! The state of everything that is simulated, without what happens to it.

pub(crate) mod evaluations;
pub(crate) mod forged;
pub(crate) mod job;
pub(crate) mod laws;
pub(crate) mod node;
pub(crate) mod pod;
pub(crate) mod reaper;
pub(crate) mod received_signals;
pub(crate) mod signal_clock;
pub(crate) mod watch;
