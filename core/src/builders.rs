//! Builders of facts and evidence, for tests, benches and the simulator.

pub mod evidence;
pub mod facts;
