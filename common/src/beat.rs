//! Heartbeats: what a sidecar posts to [`crate::names::route::BEATS`] and what it is told.
//!
//! The pod's identity is never in the body: it is what the pod-bound token in the `Authorization` header says.

use serde::{Deserialize, Serialize};

/// The body of a beat. One request may carry several, so that a relay can forward for its neighbours later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatRequest {
    /// In the order they were made; a sidecar sends one.
    pub beats: Vec<Beat>,
}

/// One heartbeat of a worker pod's sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Counts up from 0 with the sidecar's start.
    pub seq: u64,
    /// How things stand in the pod.
    pub phase: Phase,
}

/// How things stand in the pod, as far as a sidecar can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The sidecar runs and has not been asked to end.
    Running,
    /// The kubelet has asked the sidecar to end: the main containers have ended, or the pod is being deleted.
    Ending,
}

/// The reply to accepted beats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatReply {
    /// Milliseconds until the next beat is wanted, before jitter.
    pub next_in_ms: u64,
    /// What the sidecar shall do.
    pub command: Command,
    /// A CA bundle (PEM) newer than the one the sidecar was given, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// What a sidecar is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Go on.
    Continue,
    /// Go silent, for the pod has been given up. Never exit: the Job controller would count that against the Job.
    Stop,
}
