//! Who somebody is: `TokenReview` for the audience of the API.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwarden_common::names::API_AUDIENCE;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    cache::{Cache, Digest},
    question::{Denied, KEEP_ALLOWED, KEEP_REFUSED, TIMEOUT, User},
};

/// Concurrent reviews. Anyone who can connect could cause any number of requests to the API server otherwise.
const MAX_CONCURRENT: usize = 4;
/// The most tokens whose users are kept.
const MAX_KEPT: usize = 1024;
/// The longest token, in bytes. Those of service accounts have about 1,000.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The users of tokens.
pub(super) struct Tokens {
    client: Client,
    slots: Semaphore,
    /// `None` is a token that the API server does not know.
    known: Mutex<Cache<Option<Arc<User>>>>,
}

impl Tokens {
    pub(super) fn new(client: Client) -> Self {
        Self { client, slots: Semaphore::new(MAX_CONCURRENT), known: Mutex::new(Cache::new(MAX_KEPT)) }
    }

    /// The user of `token`.
    pub(super) async fn user(&self, token: &str) -> Result<Arc<User>, Denied> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Denied::BadToken);
        }
        let key: Digest = Sha256::digest(token).into();
        let known = |now: Instant| self.known().get(&key, now.into_std());
        if let Some(known) = known(Instant::now()) {
            return known.ok_or(Denied::BadToken);
        }
        let slot = timeout(TIMEOUT, self.slots.acquire()).await.map_err(|_| Denied::Unverifiable)?;
        let _slot = slot.map_err(|_| Denied::Unverifiable)?;
        // Another request with this token may have been answered meanwhile.
        if let Some(known) = known(Instant::now()) {
            return known.ok_or(Denied::BadToken);
        }
        let review = self.review(token).await.map_err(|error| {
            tracing::warn!(error, "cannot create a TokenReview");
            Denied::Unverifiable
        })?;
        let user = user(review).map(Arc::new);
        let keep = if user.is_some() { KEEP_ALLOWED } else { KEEP_REFUSED };
        self.known().put(key, user.clone(), Instant::now().into_std(), keep);
        user.ok_or(Denied::BadToken)
    }

    /// Whether the API server reviews tokens for us.
    pub(super) async fn probe(&self) -> Result<(), String> {
        self.review("probe").await.map(drop)
    }

    async fn review(&self, token: &str) -> Result<TokenReview, String> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![API_AUDIENCE.to_owned()]) };
        let review = TokenReview { metadata: ObjectMeta::default(), spec, status: None };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        match timeout(TIMEOUT, reviews.create(&PostParams::default(), &review)).await {
            Ok(Ok(review)) => Ok(review),
            Ok(Err(error)) => Err(jobwarden_serve::logs::with_causes(&error)),
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    fn known(&self) -> MutexGuard<'_, Cache<Option<Arc<User>>>> {
        // No method panics while the cache is inconsistent.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user whom the API server has authenticated for this audience: an authenticator that ignores audiences returns none.
fn user(review: TokenReview) -> Option<User> {
    let status = review.status?;
    let has_audience = status.audiences.iter().flatten().any(|audience| audience == API_AUDIENCE);
    let info = status.user.filter(|user| user.username.as_ref().is_some_and(|name| !name.is_empty()))?;
    (status.authenticated == Some(true) && has_audience).then(|| User::new(info))
}

impl User {
    fn new(info: k8s_openapi::api::authentication::v1::UserInfo) -> Self {
        // The maps of a `UserInfo` are ordered, so that the same user has the same digest.
        let text = serde_json::to_vec(&info).expect("a UserInfo is plain values");
        Self { info, digest: Sha256::digest(text).into() }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case(json!({}), true)]
    #[case(json!({ "authenticated": false }), false)]
    #[case(json!({ "authenticated": null }), false)]
    #[case(json!({ "audiences": ["https://kubernetes.default.svc"] }), false)]
    #[case(json!({ "audiences": ["jobwarden-reaper", "jobwarden-operator"] }), false)]
    #[case(json!({ "audiences": null }), false)]
    #[case(json!({ "user": null }), false)]
    #[case(json!({ "user": { "username": "" } }), false)]
    fn a_user_is_authenticated_for_the_audience_of_the_api(#[case] change: Value, #[case] is: bool) {
        let mut status = json!({ "authenticated": true, "audiences": [API_AUDIENCE], "user": { "username": "u" } });
        json_patch::merge(&mut status, &change);
        let review = serde_json::from_value(json!({ "spec": {}, "status": status })).expect("a TokenReview");
        assert_eq!(user(review).is_some(), is);
    }
}
