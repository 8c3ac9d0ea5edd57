//! Why a request is refused: one list for replies and metrics.

use http::StatusCode;
use jobwarden_core::index::{BeatRejected, ForeignPod};
use jobwarden_serve::accept::BodyError;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no bearer token.
    #[error("a bearer token is needed")]
    MissingToken,
    /// The token is none that the API server makes for pods.
    #[error("the token is not one of a pod")]
    Malformed,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// It is meant for somebody else.
    #[error("the token is not meant for audience {}", jobwarden_common::names::TOKEN_AUDIENCE)]
    Audience,
    /// It is another cluster's.
    #[error("the token has another issuer")]
    Issuer,
    /// It is forged, or signed with a key that is not known (yet).
    #[error("the token's signature cannot be verified")]
    Signature,
    /// The API server says that it is not valid.
    #[error("the API server does not accept the token")]
    Rejected,
    /// There are no keys to verify it with, and the API server does not answer.
    #[error("tokens cannot be verified now")]
    Unverifiable,
    /// The pod is unknown, or its token was made for another node.
    #[error(transparent)]
    BeatRejected(#[from] BeatRejected),
    /// An agent reports a pod of another node.
    #[error(transparent)]
    ForeignPod(#[from] ForeignPod),
    /// Observations are taken from agents only.
    #[error("only the node agent may report observations")]
    NotAgent,
    /// The agent's token names no node.
    #[error("the token names no node")]
    NoNode,
    /// This reaper does not lead.
    #[error("this reaper does not lead")]
    NotLeader,
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body is not what it should be.
    #[error("the body is not understood: {0}")]
    Content(#[source] serde_json::Error),
    /// The body has more entries than make sense.
    #[error("there must be 1 to {max} entries")]
    Entries {
        /// The most that are taken.
        max: usize,
    },
    /// Nothing is here.
    #[error("nothing is here")]
    NoSuchRoute,
    /// Only POST is served.
    #[error("only POST is served here")]
    Method,
}

impl Refusal {
    /// The status of the reply.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MissingToken
            | Self::Malformed
            | Self::Expired
            | Self::Audience
            | Self::Issuer
            | Self::Signature
            | Self::Rejected => StatusCode::UNAUTHORIZED,
            Self::BeatRejected(_) | Self::ForeignPod(_) | Self::NotAgent | Self::NoNode => StatusCode::FORBIDDEN,
            Self::NotLeader | Self::Unverifiable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::TimedOut) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyError::NoRoom) => StatusCode::TOO_MANY_REQUESTS,
            Self::Body(BodyError::Broken(_)) | Self::Content(_) | Self::Entries { .. } => StatusCode::BAD_REQUEST,
            Self::NoSuchRoute => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The value of the label `reason`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::MissingToken => "missing_token",
            Self::Malformed => "malformed",
            Self::Expired => "expired",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::Signature => "signature",
            Self::Rejected => "rejected",
            Self::Unverifiable => "unverifiable",
            Self::BeatRejected(BeatRejected::UnknownPod) => "unknown_pod",
            Self::BeatRejected(BeatRejected::WrongNode) | Self::ForeignPod(_) => "wrong_node",
            Self::NotAgent => "not_agent",
            Self::NoNode => "no_node",
            Self::NotLeader => "not_leader",
            Self::Body(_) | Self::Content(_) | Self::Entries { .. } => "body",
            Self::NoSuchRoute | Self::Method => "route",
        }
    }
}
