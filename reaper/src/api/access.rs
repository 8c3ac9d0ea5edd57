//! Who may read what.
//!
//! On the loopback there is no token: only who may forward a port to the reaper's pod gets there. Over TLS a request passes
//! `TokenReview` ([`authentication`]) and then `SubjectAccessReview` ([`authorization`]). Both are answered by the API server, so both are
//! bounded: few at a time, one at a time for each user, and kept for a moment.

mod authentication;
mod authorization;
mod cache;
mod slots;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;

use self::{authentication::Tokens, authorization::Reviews, slots::UserSlots};
use super::metrics::Metrics;

/// How long the API server may take to answer a review, and a request may wait for its turn.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long what the API server allows is kept.
const KEEP_ALLOWED: Duration = Duration::from_secs(30);
/// How long what it refuses is kept: somebody may just be granting it.
const KEEP_REFUSED: Duration = Duration::from_secs(10);

/// Asks the API server who somebody is, and what he may read.
pub struct Access {
    tokens: Tokens,
    reviews: Reviews,
    users: UserSlots,
    metrics: Metrics,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Whoever reaches the loopback of the pod: an operator.
    Loopback,
    /// The user of a token.
    User(Arc<User>),
}

/// An authenticated user.
#[derive(Debug, PartialEq)]
pub(super) struct User {
    info: UserInfo,
    /// Stands for the user in caches.
    digest: [u8; 32],
}

/// What is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Right<'a> {
    /// List the Jobs of a namespace; `None` is all namespaces.
    ListJobs(Option<&'a str>),
    /// Get the Job of this name in a namespace; `None` is all Jobs there.
    GetJob(&'a str, Option<&'a str>),
    /// Read the logs of a namespace.
    ReadLogs(&'a str),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// It has no token.
    NoToken,
    /// The API server does not know the token, or it is for another audience.
    BadToken,
    /// The user may not read that.
    Forbidden,
    /// The API server cannot be asked, or too much is asked at the moment.
    Unverifiable,
}

impl Access {
    /// Uses `client`, whose service account needs the verb create on `TokenReview`s and `SubjectAccessReview`s.
    pub fn new(client: Client, metrics: Metrics) -> Self {
        Self {
            tokens: Tokens::new(client.clone()),
            reviews: Reviews::new(client),
            users: UserSlots::default(),
            metrics,
        }
    }

    /// The user of `token`.
    pub(super) async fn authenticate(&self, token: Option<&str>) -> Result<Caller, Denied> {
        let user = match token {
            None => Err(Denied::NoToken),
            Some(token) => self.tokens.user(token).await,
        };
        user.map(Caller::User).inspect_err(|denied| self.metrics.refused(denied.as_str()))
    }

    /// Whether `caller` has `right`; an error if he has not.
    pub(super) async fn require(&self, caller: &Caller, right: Right<'_>) -> Result<(), Denied> {
        let allowed = self.allows(caller, right).await;
        let allowed = allowed.and_then(|allowed| if allowed { Ok(()) } else { Err(Denied::Forbidden) });
        allowed.inspect_err(|denied| self.metrics.refused(denied.as_str()))
    }

    /// Whether `caller` has `right`.
    pub(super) async fn allows(&self, caller: &Caller, right: Right<'_>) -> Result<bool, Denied> {
        let Caller::User(user) = caller else { return Ok(true) };
        // Who may do so in the whole namespace is the ordinary case: one answer serves for all of its Jobs.
        if let Right::GetJob(namespace, Some(_)) = right
            && self.reviewed(user, Right::GetJob(namespace, None)).await?
        {
            return Ok(true);
        }
        self.reviewed(user, right).await
    }

    async fn reviewed(&self, user: &Arc<User>, right: Right<'_>) -> Result<bool, Denied> {
        if let Some(known) = self.reviews.known(user, right) {
            return Ok(known);
        }
        let _turn = self.users.turn(&user.digest).await.ok_or(Denied::Unverifiable)?;
        self.reviews.allows(user, right).await
    }

    /// Asks the API server two questions of which the answers do not matter; what fails, if anything does.
    pub(super) async fn probe(&self) -> (Result<(), String>, Result<(), String>) {
        tokio::join!(self.tokens.probe(), self.reviews.probe())
    }
}

impl Denied {
    fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no-token",
            Self::BadToken => "bad-token",
            Self::Forbidden => "forbidden",
            Self::Unverifiable => "unverifiable",
        }
    }
}
