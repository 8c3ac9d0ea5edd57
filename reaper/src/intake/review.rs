//! Asking the API server whose a token is: the fallback where its keys cannot be read.

use std::{collections::BTreeMap, time::Duration};

use jobwarden_common::names::TOKEN_AUDIENCE;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{sync::Semaphore, time::timeout};

use super::{refusal::Refusal, token::Bearer};

/// Reviews at one time: thousands of sidecars must not become as many requests to the API server.
const MAX_AT_ONCE: usize = 16;

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a `TokenReview` tells what a token is bound to (`pkg/serviceaccount/util.go`).
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// Before the names of service accounts, as users.
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// Asks the API server.
#[derive(Debug)]
pub struct Reviewer {
    client: DebugClient,
    slots: Semaphore,
}

/// A client without its inner life in debug output.
struct DebugClient(Client);

impl std::fmt::Debug for DebugClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Reviewer {
    /// Asks by this client, whose service account may create `TokenReview`s.
    pub fn new(client: Client) -> Self {
        Self { client: DebugClient(client), slots: Semaphore::new(MAX_AT_ONCE) }
    }

    /// Whose token this is, by the API server's word.
    pub async fn review(&self, token: &str) -> Result<Bearer, Refusal> {
        let Ok(_slot) = self.slots.try_acquire() else { return Err(Refusal::Unverifiable) };
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]) };
        let review = TokenReview { metadata: ObjectMeta::default(), spec, status: None };
        let reviews: Api<TokenReview> = Api::all(self.client.0.clone());
        match timeout(PATIENCE, reviews.create(&PostParams::default(), &review)).await {
            Ok(Ok(review)) => bearer(review),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot have a token reviewed");
                Err(Refusal::Unverifiable)
            }
            Err(_) => Err(Refusal::Unverifiable),
        }
    }
}

fn bearer(review: TokenReview) -> Result<Bearer, Refusal> {
    let status = review.status.unwrap_or_default();
    if status.authenticated != Some(true) {
        return Err(Refusal::Rejected);
    }
    // An authenticator that knows no audiences confirms none.
    if !status.audiences.iter().flatten().any(|audience| audience == TOKEN_AUDIENCE) {
        return Err(Refusal::Audience);
    }
    let UserInfo { username, extra, .. } = status.user.unwrap_or_default();
    let extra = extra.unwrap_or_default();
    let account = username.as_deref().and_then(|user| user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':'));
    let (namespace, service_account) = account.ok_or(Refusal::Malformed)?;
    Ok(Bearer {
        pod: only(&extra, POD_UID).ok_or(Refusal::Malformed)?.into(),
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

    /// As a 1.35 API server answers, changed by a merge of `change`.
    #[allow(clippy::needless_pass_by_value, reason = "reads well with json!")]
    fn answer(change: Value) -> Result<Bearer, Refusal> {
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
    fn an_accepted_token_is_its_pods() {
        let expected = Bearer {
            pod: "p-uid".into(),
            node: Some("node-1".into()),
            namespace: "ort".to_owned(),
            service_account: "default".to_owned(),
        };
        assert_eq!(answer(json!({})).expect("accepted"), expected);
    }

    #[test]
    fn what_is_not_a_pods_token_for_us_is_refused() {
        let status = |change: Value| answer(json!({"status": change})).expect_err("refused").as_str();
        assert_eq!(status(json!({"authenticated": false, "error": "expired"})), "rejected");
        assert_eq!(status(json!({"audiences": ["https://kubernetes.default.svc"]})), "audience");
        assert_eq!(status(json!({"audiences": null})), "audience");
        assert_eq!(status(json!({"user": {"username": "admin"}})), "malformed");
        assert_eq!(status(json!({"user": {"extra": null}})), "malformed");
    }
}
