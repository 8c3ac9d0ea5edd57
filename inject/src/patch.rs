//! What admission changes, as explicit RFC 6902 operations on the object as it was sent.
//!
//! ```text
//!  job         the whole of a Job's admission      stamp       labels and annotations
//!  pod         the whole of a pod's admission      sidecar     the container, its volume, its pull secrets
//!  operations  a JSON patch in the making          toleration  of an unreachable node
//!  overrides   annotations that override policy    quantity    Kubernetes quantities
//!  limits      what LimitRanges allow the sidecar
//! ```
//!
//! Laws, held by property tests: patching twice is patching once; everything that was there stays (but for the one
//! toleration that [`toleration`] explains); no operation changes nothing. Everything here is pure.

pub mod job;
pub mod limits;
mod operations;
mod overrides;
pub mod pod;
pub mod quantity;
pub mod sidecar;
mod stamp;
pub mod toleration;

use std::time::Duration;

use jobwarden_common::names::{SIDECAR_CONTAINER, TOKEN_VOLUME, label};

pub use self::operations::Operations;
use crate::identity::Rules;

/// What an installation wants of admission.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where identities are found.
    pub rules: Rules,
    /// Whether Jobs get the finalizer that holds them until their outcome is recorded.
    pub finalizer: bool,
    /// How long worker pods tolerate an unreachable node; zero leaves their tolerations alone.
    pub unreachable_grace: Duration,
    /// The sidecar of every worker pod.
    pub sidecar: sidecar::Sidecar,
}

/// What admission does to one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutation {
    /// The patch; empty where the object stays as it is.
    pub operations: Operations,
    /// For the person who created the object; `kubectl` shows them.
    pub warnings: Vec<String>,
    /// What it amounts to.
    pub effect: Effect,
}

/// What a mutation amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// A pod gets the sidecar.
    Injected,
    /// A Job, or a pod that has the sidecar already, gets labels, annotations and the like.
    Stamped,
    /// A pod's sidecar gets back what another webhook took from it.
    Mended,
    /// The object is not ours to enrol.
    Skipped(Skip),
}

/// Why an object is not enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Skip {
    /// It has everything already.
    Enrolled,
    /// It says that it does not want to be.
    OptedOut,
    /// A pod without a controlling Job that has not opted in.
    NotOfJob,
    /// It is for Windows, where the sidecar does not run.
    Windows,
    /// It has no spec; the API server will refuse it.
    NoSpec,
    /// It is not being created.
    NotCreated,
    /// It is neither a Job nor a pod, or not the one that this path is for.
    OtherResource,
    /// It could not be read.
    Unreadable,
}

impl Effect {
    /// The word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Stamped => "stamped",
            Self::Mended => "mended",
            Self::Skipped(_) => "skipped",
        }
    }
}

impl Skip {
    /// The word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::OptedOut => "opted_out",
            Self::NotOfJob => "not_of_job",
            Self::Windows => "windows",
            Self::NoSpec => "no_spec",
            Self::NotCreated => "not_created",
            Self::OtherResource => "other_resource",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Why an object is refused. The text is for whoever created it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// A container has the sidecar's name without being the sidecar.
    #[error("the container name {SIDECAR_CONTAINER:?} is reserved for jobwarden's sidecar; give your container another \
             name, or opt out with the label {opt_out}: \"false\"", opt_out = label::INJECT)]
    ContainerName,
    /// A volume has the name of the sidecar's volume without being it.
    #[error("the volume name {TOKEN_VOLUME:?} is reserved for jobwarden's sidecar; give your volume another name, or opt \
             out with the label {opt_out}: \"false\"", opt_out = label::INJECT)]
    VolumeName,
    /// A `LimitRange` does not allow the sidecar's size.
    #[error(transparent)]
    Size(#[from] limits::Refusal),
}

impl Mutation {
    /// Nothing is done, for this reason.
    pub fn skip(reason: Skip) -> Self {
        Self { operations: Operations::default(), warnings: Vec::new(), effect: Effect::Skipped(reason) }
    }

    fn skip_windows() -> Self {
        let warning = "jobwarden does not watch Windows pods; this one is left alone".to_owned();
        Self { warnings: vec![warning], ..Self::skip(Skip::Windows) }
    }
}
