//! Who asks, what is to be read, and why it is refused.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::UserInfo;

/// How long the API server may take to answer a review, and a request may wait for its turn.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// How long what the API server allows is kept.
pub(super) const KEEP_ALLOWED: Duration = Duration::from_secs(30);
/// How long what it refuses is kept: somebody may just be granting it.
pub(super) const KEEP_REFUSED: Duration = Duration::from_secs(10);

/// An authenticated user.
#[derive(Debug, PartialEq)]
pub(in crate::api) struct User {
    pub(super) info: UserInfo,
    /// Stands for the user in caches.
    pub(super) digest: [u8; 32],
}

/// What is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::api) enum Right<'a> {
    /// List the Jobs of a namespace; `None` is all namespaces.
    ListJobs(Option<&'a str>),
    /// Get the Job of this name in a namespace; `None` is all Jobs there.
    GetJob(&'a str, Option<&'a str>),
    /// Read the logs of a namespace.
    ReadLogs(&'a str),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Denied {
    /// It has no token.
    NoToken,
    /// The API server does not know the token, or it is for another audience.
    BadToken,
    /// The user may not read that.
    Forbidden,
    /// The API server cannot be asked, or too much is asked at the moment.
    Unverifiable,
}

impl Denied {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no-token",
            Self::BadToken => "bad-token",
            Self::Forbidden => "forbidden",
            Self::Unverifiable => "unverifiable",
        }
    }
}
