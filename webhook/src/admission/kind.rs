//! The kinds of objects that are admitted.

use jobwarden_common::names::admission_route;

/// The kind of object that a path admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Job,
    Pod,
}

impl Kind {
    pub(super) fn of_path(path: &str) -> Option<Self> {
        match path {
            admission_route::JOBS => Some(Self::Job),
            admission_route::PODS => Some(Self::Pod),
            _ => None,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Job => "Job",
            Self::Pod => "Pod",
        }
    }

    /// Group, version and resource.
    pub(super) const fn resource(self) -> [&'static str; 3] {
        match self {
            Self::Job => ["batch", "v1", "jobs"],
            Self::Pod => ["", "v1", "pods"],
        }
    }
}
