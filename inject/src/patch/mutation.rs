//! The result of an admission that is not denied.

use super::operations::Operations;

/// What admission does to one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutation {
    /// The patch; empty if the object stays unchanged.
    pub operations: Operations,
    /// Warnings for the creator of the object; `kubectl` shows them.
    pub warnings: Vec<String>,
    /// What the patch does.
    pub effect: Effect,
}

/// What a mutation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// A pod gets the sidecar.
    Injected,
    /// A Job, or a pod that already has the sidecar, gets labels, annotations, or other metadata.
    Stamped,
    /// A pod's sidecar gets back the `restartPolicy` that another webhook removed.
    Repaired,
    /// A pod is left without the sidecar, which would harm it. It is labelled, and the node agent watches it.
    WithoutSidecar(Harm),
    /// The object is not enrolled, or already complete.
    Skipped(Skip),
}

/// Why the sidecar would harm a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Harm {
    /// The restarts of the sidecar would use up the retries of the Job.
    OnFailure,
    /// The pod's own resources cannot be raised.
    PodResources,
    /// A `LimitRange` would reject the pod.
    LimitRange,
    /// A `ResourceQuota` would reject the pod for ever.
    ResourceQuota,
}

/// Why an object is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Skip {
    /// The object is already complete.
    Enrolled,
    /// The object opted out.
    OptedOut,
    /// A pod that no Job controls and that did not opt in.
    NotOfJob,
    /// The object is for Windows, where neither sidecar nor node agent runs.
    Windows,
    /// The pod is the kubelet's copy of a static pod, which may have no token.
    Mirror,
    /// The object has no spec; the API server rejects it.
    NoSpec,
    /// The request is not a CREATE.
    NotCreated,
    /// The object is not of the kind that this path serves.
    OtherResource,
    /// The object cannot be parsed.
    Unreadable,
}

impl Effect {
    /// Label value for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Stamped => "stamped",
            Self::Repaired => "repaired",
            Self::WithoutSidecar(_) => "without_sidecar",
            Self::Skipped(_) => "skipped",
        }
    }
}

impl Harm {
    /// The value of the annotation `jobwarden.io/no-sidecar`; also for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnFailure => "OnFailure",
            Self::PodResources => "PodResources",
            Self::LimitRange => "LimitRange",
            Self::ResourceQuota => "ResourceQuota",
        }
    }
}

impl Skip {
    /// Label value for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::OptedOut => "opted_out",
            Self::NotOfJob => "not_of_job",
            Self::Windows => "windows",
            Self::Mirror => "mirror",
            Self::NoSpec => "no_spec",
            Self::NotCreated => "not_created",
            Self::OtherResource => "other_resource",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Mutation {
    /// No change, for this reason.
    pub fn skip(reason: Skip) -> Self {
        Self { operations: Operations::default(), warnings: Vec::new(), effect: Effect::Skipped(reason) }
    }

    /// No change to a Job or pod for Windows, with a warning.
    pub(super) fn skip_windows(mut warnings: Vec<String>) -> Self {
        warnings
            .push("jobwarden does not support Windows pods: no sidecar is added and the pod is not watched".to_owned());
        Self { warnings, ..Self::skip(Skip::Windows) }
    }
}
