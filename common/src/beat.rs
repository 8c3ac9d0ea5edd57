//! Heartbeats: what a sidecar posts to [`crate::names::route::BEATS`], and the reply.
//!
//! The pod's identity is not in the body: it comes from the pod-bound token in the `Authorization` header.

use serde::{Deserialize, Serialize};

/// The body of a beat request. It may carry several beats, so that a relay could forward those of its neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatRequest {
    /// The beats, oldest first; a sidecar sends one.
    pub beats: Vec<Beat>,
}

/// One heartbeat of a worker pod's sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Counts up from 0 since the start of the sidecar.
    pub seq: u64,
    /// The state of the pod.
    pub phase: Phase,
}

/// The state of the pod, as far as a sidecar knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The sidecar is running and has not received SIGTERM.
    Running,
    /// The sidecar received SIGTERM from the kubelet: the main containers have ended, or the pod is being deleted.
    Ending,
}

/// The reply to accepted beats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatReply {
    /// Milliseconds until the next beat, before jitter.
    pub next_in_ms: u64,
    /// What the sidecar must do.
    pub command: Command,
    /// A CA bundle (PEM) newer than the one the sidecar was given, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// An instruction to a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Keep sending beats.
    Continue,
    /// Stop sending beats: the pod is abandoned. The sidecar must not exit, because the Job controller would count that against
    /// the Job.
    Stop,
}
