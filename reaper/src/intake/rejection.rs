//! Why a request is rejected: one enum for responses, logs and metrics.

use http::StatusCode;
use jobwarden_core::index::{BeatRejected, ForeignPod};
use jobwarden_serve::accept::BodyError;

use super::claims::TokenError;

/// Why a request is rejected.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// There is no bearer token.
    #[error("the request has no bearer token")]
    MissingToken,
    /// The token is not acceptable.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The API server does not authenticate the token.
    #[error("the API server does not authenticate the token")]
    NotAuthenticated,
    /// There are no keys to verify the token with, and the API server does not respond.
    #[error("tokens cannot be verified at the moment")]
    Unverifiable,
    /// The pod is unknown, or its token was issued for another node.
    #[error(transparent)]
    BeatRejected(#[from] BeatRejected),
    /// An agent reports a pod of another node.
    #[error(transparent)]
    ForeignPod(#[from] ForeignPod),
    /// Only node agents may report observations.
    #[error("only the node agent may report observations")]
    NotAgent,
    /// The agent's token is not bound to a node.
    #[error("the token is not bound to a node")]
    NoNode,
    /// The pod that the agent's token names is not on that node, or is gone.
    #[error("no agent with this UID runs on the node that the token names")]
    UnknownAgent,
    /// The agents' pods have not been listed yet.
    #[error("it is not known yet which agents there are; try again")]
    AgentsUnknown,
    /// This reaper is not the leader.
    #[error("this reaper is not the leader")]
    NotLeader,
    /// The body cannot be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body is not valid JSON of the expected shape.
    #[error("invalid request body: {0}")]
    Content(#[source] serde_json::Error),
    /// The body has no entry or too many.
    #[error("the body must have 1 to {max} entries")]
    Entries {
        /// The maximum number of entries.
        max: usize,
    },
    /// There is no such route.
    #[error("no such route")]
    NoSuchRoute,
    /// The method is not POST.
    #[error("method not allowed; use POST")]
    Method,
}

impl Rejection {
    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MissingToken | Self::Token(_) | Self::NotAuthenticated => StatusCode::UNAUTHORIZED,
            Self::BeatRejected(_) | Self::ForeignPod(_) | Self::NotAgent | Self::NoNode | Self::UnknownAgent => {
                StatusCode::FORBIDDEN
            }
            Self::NotLeader | Self::Unverifiable | Self::AgentsUnknown => StatusCode::SERVICE_UNAVAILABLE,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::TimedOut) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyError::NoRoom) => StatusCode::TOO_MANY_REQUESTS,
            Self::Body(BodyError::Broken(_)) | Self::Content(_) | Self::Entries { .. } => StatusCode::BAD_REQUEST,
            Self::NoSuchRoute => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The value of the metric label `reason`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::MissingToken => "missing_token",
            Self::Token(TokenError::Malformed) => "malformed",
            Self::Token(TokenError::Expired) => "expired",
            Self::Token(TokenError::Audience) => "audience",
            Self::Token(TokenError::Issuer) => "issuer",
            Self::Token(TokenError::Signature) => "signature",
            Self::NotAuthenticated => "rejected",
            Self::Unverifiable => "unverifiable",
            Self::BeatRejected(BeatRejected::UnknownPod) => "unknown_pod",
            Self::BeatRejected(BeatRejected::WrongNode) | Self::ForeignPod(_) => "wrong_node",
            Self::NotAgent => "not_agent",
            Self::NoNode => "no_node",
            Self::UnknownAgent => "unknown_agent",
            Self::AgentsUnknown => "agents_unknown",
            Self::NotLeader => "not_leader",
            Self::Body(_) | Self::Content(_) | Self::Entries { .. } => "body",
            Self::NoSuchRoute | Self::Method => "route",
        }
    }
}
