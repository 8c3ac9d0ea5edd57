//! Who may release the breaker and test sinks: those who may create tokens of the service account `jobwarden-operator`.
//!
//! The API speaks plain HTTP behind the API server's proxy, which removes the caller's own credentials. So the caller asks the API
//! server for a token of that service account first, which it grants by RBAC and records in its audit log. The token is good for
//! this alone, for ten minutes: it has an audience of its own, and the service account has no permissions.

use std::time::Duration;

use jobwarden_common::names::{OPERATOR_AUDIENCE, object};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{sync::Semaphore, time::timeout};

/// Concurrent reviews. Anyone who can connect could cause any number of requests to the API server otherwise.
const MAX_CONCURRENT: usize = 2;
/// How long the API server may take to respond.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Tells operators from everybody else.
pub struct Operators {
    client: Client,
    /// The user name of the operators' service account.
    user: String,
    slots: Semaphore,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has no token.
    NoToken,
    /// The token is not that of an operator.
    NotAnOperator,
    /// The API server cannot be asked at the moment.
    Unverifiable,
}

impl Operators {
    /// Uses `client`, whose service account needs the verb create on `TokenReview`s. `namespace` is jobwarden's own.
    pub fn new(client: Client, namespace: &str) -> Self {
        let user = format!("system:serviceaccount:{namespace}:{}", object::OPERATOR);
        Self { client, user, slots: Semaphore::new(MAX_CONCURRENT) }
    }

    /// Whether `token` is that of an operator.
    pub(super) async fn verify(&self, token: Option<&str>) -> Result<(), Refusal> {
        let token = token.ok_or(Refusal::NoToken)?;
        let Ok(_slot) = self.slots.try_acquire() else { return Err(Refusal::Unverifiable) };
        let audiences = Some(vec![OPERATOR_AUDIENCE.to_owned()]);
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences };
        let review = TokenReview { metadata: ObjectMeta::default(), spec, status: None };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        match timeout(TIMEOUT, reviews.create(&PostParams::default(), &review)).await {
            Ok(Ok(review)) if is_operator(&review, &self.user) => Ok(()),
            Ok(Ok(_)) => Err(Refusal::NotAnOperator),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot create a TokenReview");
                Err(Refusal::Unverifiable)
            }
            Err(_) => Err(Refusal::Unverifiable),
        }
    }
}

/// Whether the API server has authenticated this user, for the audience of operators: an authenticator that ignores audiences returns
/// none.
fn is_operator(review: &TokenReview, user: &str) -> bool {
    let Some(status) = &review.status else { return false };
    let has_audience = status.audiences.iter().flatten().any(|audience| audience == OPERATOR_AUDIENCE);
    let is_user = status.user.as_ref().and_then(|user| user.username.as_deref()) == Some(user);
    status.authenticated == Some(true) && has_audience && is_user
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    const USER: &str = "system:serviceaccount:jobwarden:jobwarden-operator";

    fn review(status: &Value) -> TokenReview {
        serde_json::from_value(json!({ "spec": {}, "status": status })).expect("a TokenReview")
    }

    #[rstest]
    #[case(json!({}), true)]
    #[case(json!({ "authenticated": false }), false)]
    #[case(json!({ "audiences": ["https://kubernetes.default.svc"] }), false)]
    #[case(json!({ "audiences": null }), false)]
    #[case(json!({ "user": { "username": "system:serviceaccount:ort:jobwarden-operator" } }), false)]
    #[case(json!({ "user": { "username": "system:serviceaccount:jobwarden:jobwarden-reaper" } }), false)]
    #[case(json!({ "user": null }), false)]
    fn an_operator_presents_a_token_of_the_service_account_for_this_audience(#[case] change: Value, #[case] is: bool) {
        let mut status =
            json!({ "authenticated": true, "audiences": [OPERATOR_AUDIENCE], "user": { "username": USER } });
        json_patch::merge(&mut status, &change);
        assert_eq!(is_operator(&review(&status), USER), is);
    }

    #[tokio::test]
    async fn a_token_is_reviewed_for_the_audience_of_operators() {
        let service = tower::service_fn(|request: Request<Body>| async move {
            use http_body_util::BodyExt as _;
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            let mut asked: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(asked["spec"]["audiences"], json!([OPERATOR_AUDIENCE]));
            let is_known = asked["spec"]["token"] == "good";
            asked["status"] = json!({
                "authenticated": is_known, "audiences": [OPERATOR_AUDIENCE], "user": { "username": USER },
            });
            Response::builder().body(Body::from(asked.to_string().into_bytes()))
        });
        let operators = Operators::new(Client::new(service, "default"), "jobwarden");
        assert_eq!(operators.verify(Some("good")).await, Ok(()));
        assert_eq!(operators.verify(Some("bad")).await, Err(Refusal::NotAnOperator));
        assert_eq!(operators.verify(None).await, Err(Refusal::NoToken));
    }
}
