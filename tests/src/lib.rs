//! What the project's tests stand on: a real Kubernetes of several nodes on one machine.

pub mod beat_server;
pub mod bed;
pub mod claims;
pub mod cluster;
pub mod ground;
pub mod harm;
pub mod https;
pub mod install;
pub mod job;
pub mod metrics;
pub mod mutator;
pub mod progress;
pub mod reaper;
pub mod receiver;
pub mod tls_server;
pub mod wait;
