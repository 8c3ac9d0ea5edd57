//! Who may read what.
//!
//! On the loopback there is no token: only who may forward a port to the reaper's pod gets there. Over TLS a request passes
//! `TokenReview` ([`authentication`]) and then `SubjectAccessReview` ([`authorization`]). Both are answered by the API server, so both are
//! bounded: few at a time, one at a time for each user, and kept for a moment.

mod authentication;
mod authorization;
mod cache;
mod question;
mod slots;

use std::sync::Arc;

use kube::Client;

pub(super) use self::question::{Denied, Right, User};
use self::{authentication::Tokens, authorization::Reviews, slots::UserSlots};
use super::metrics::Metrics;

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
    /// Anyone who reaches the loopback of the pod: an operator.
    Loopback,
    /// The user of a token.
    User(Arc<User>),
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
