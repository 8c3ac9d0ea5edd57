//! `TokenReview` by the API server: the fallback while its keys cannot be read.

use std::{collections::BTreeMap, time::Duration};

use jobwarden_common::names::TOKEN_AUDIENCE;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{sync::Semaphore, time::timeout};

use super::{bearer::Bearer, claims::TokenError, rejection::Rejection};

/// Concurrent reviews. Thousands of sidecars must not cause as many requests to the API server.
const MAX_CONCURRENT: usize = 16;

/// How long the API server may take to respond.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The keys in `status.user.extra` that hold what a token is bound to (`pkg/serviceaccount/util.go`).
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// The prefix of service account user names.
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// Creates `TokenReview`s.
#[derive(Debug)]
pub struct Reviewer {
    client: DebugClient,
    slots: Semaphore,
}

/// A client with short debug output.
struct DebugClient(Client);

impl std::fmt::Debug for DebugClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Reviewer {
    /// Uses `client`, whose service account needs the verb create on `TokenReview`s.
    pub fn new(client: Client) -> Self {
        Self { client: DebugClient(client), slots: Semaphore::new(MAX_CONCURRENT) }
    }

    /// The bearer of `token` according to the API server.
    pub async fn review(&self, token: &str) -> Result<Bearer, Rejection> {
        let Ok(_slot) = self.slots.try_acquire() else { return Err(Rejection::Unverifiable) };
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]) };
        let review = TokenReview { metadata: ObjectMeta::default(), spec, status: None };
        let reviews: Api<TokenReview> = Api::all(self.client.0.clone());
        match timeout(TIMEOUT, reviews.create(&PostParams::default(), &review)).await {
            Ok(Ok(review)) => bearer(review),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot create a TokenReview");
                Err(Rejection::Unverifiable)
            }
            Err(_) => Err(Rejection::Unverifiable),
        }
    }
}

fn bearer(review: TokenReview) -> Result<Bearer, Rejection> {
    let status = review.status.unwrap_or_default();
    if status.authenticated != Some(true) {
        return Err(Rejection::NotAuthenticated);
    }
    // An authenticator that ignores audiences returns none.
    if !status.audiences.iter().flatten().any(|audience| audience == TOKEN_AUDIENCE) {
        return Err(TokenError::Audience.into());
    }
    let UserInfo { username, extra, .. } = status.user.unwrap_or_default();
    let extra = extra.unwrap_or_default();
    let account = username.as_deref().and_then(|user| user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':'));
    let (namespace, service_account) = account.ok_or(TokenError::Malformed)?;
    Ok(Bearer {
        pod: only(&extra, POD_UID).ok_or(TokenError::Malformed)?.into(),
        node: only(&extra, NODE_NAME).map(Into::into),
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
    })
}

fn only(extra: &BTreeMap<String, Vec<String>>, key: &str) -> Option<String> {
    extra.get(key)?.first().cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The bearer in the answer of a 1.35 API server, with `change` merged into it.
    #[allow(clippy::needless_pass_by_value, reason = "reads well with json!")]
    fn answer(change: Value) -> Result<Bearer, Rejection> {
        let mut review = json!({
            "spec": {"audiences": [TOKEN_AUDIENCE]},
            "status": {
                "authenticated": true,
                "audiences": [TOKEN_AUDIENCE],
                "user": {
                    "username": "system:serviceaccount:ort:default", "uid": "u",
                    "groups": ["system:serviceaccounts", "system:authenticated"],
                    "extra": {
                        "authentication.kubernetes.io/pod-name": ["p"],
                        "authentication.kubernetes.io/pod-uid": ["p-uid"],
                        "authentication.kubernetes.io/node-name": ["node-1"],
                    },
                },
            },
        });
        json_patch::merge(&mut review, &change);
        bearer(serde_json::from_value(review).expect("a TokenReview"))
    }

    #[test]
    fn a_reviewed_token_identifies_its_pod() {
        let expected = Bearer {
            pod: "p-uid".into(),
            node: Some("node-1".into()),
            namespace: "ort".to_owned(),
            service_account: "default".to_owned(),
        };
        assert_eq!(answer(json!({})).expect("accepted"), expected);
    }

    #[test]
    fn a_token_that_is_not_a_pod_token_with_the_audience_is_rejected() {
        let status = |change: Value| answer(json!({"status": change})).expect_err("rejected").as_str();
        assert_eq!(status(json!({"authenticated": false, "error": "expired"})), "rejected");
        assert_eq!(status(json!({"audiences": ["https://kubernetes.default.svc"]})), "audience");
        assert_eq!(status(json!({"audiences": null})), "audience");
        assert_eq!(status(json!({"user": {"username": "admin"}})), "malformed");
        assert_eq!(status(json!({"user": {"extra": null}})), "malformed");
    }
}
