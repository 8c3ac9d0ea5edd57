//! The token with which an operator acts through the reaper's API. The API server grants it to those who may create it.

use jobwarden_common::names::{OPERATOR_AUDIENCE, object};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};

/// How long the token is valid: the shortest time that the API server grants.
const TOKEN_SECONDS: i64 = 600;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperatorError {
    /// The request failed.
    #[error(
        "cannot get a token of the service account {namespace}/{name}, with which operators act; bind the Role jobwarden-operator"
    )]
    Token { namespace: String, name: &'static str, source: kube::Error },
    /// The response has no token.
    #[error("the API server returned no token for the service account {0}")]
    NoToken(&'static str),
}

/// A token that proves that the caller is an operator of the installation in `namespace`.
pub(crate) async fn token(client: &Client, namespace: String) -> Result<String, OperatorError> {
    let name = object::OPERATOR;
    let spec = TokenRequestSpec {
        audiences: vec![OPERATOR_AUDIENCE.to_owned()],
        expiration_seconds: Some(TOKEN_SECONDS),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    let granted = accounts.create_token_request(name, &PostParams::default(), &request).await;
    let granted = granted.map_err(|source| OperatorError::Token { namespace, name, source })?;
    granted.status.map(|status| status.token).ok_or(OperatorError::NoToken(name))
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server that answers token requests with this status and body.
    fn api_server(status: u16, answer: Value) -> Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = answer.to_string();
            async move {
                assert_eq!(
                    request.uri().path(),
                    "/api/v1/namespaces/jobwarden/serviceaccounts/jobwarden-operator/token"
                );
                let body = request.into_body().collect().await.expect("a body").to_bytes();
                let asked: Value = serde_json::from_slice(&body).expect("JSON");
                assert_eq!(asked["spec"]["audiences"], json!(["jobwarden-operator"]));
                assert_eq!(asked["spec"]["expirationSeconds"], json!(600));
                Response::builder().status(status).body(Body::from(answer.into_bytes()))
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn an_operator_is_who_may_create_a_token_of_the_operators_service_account() {
        let request = json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": { "audiences": [] },
            "status": { "token": "t", "expirationTimestamp": "2026-01-02T03:04:05Z" },
        });
        let granted = token(&api_server(201, request), "jobwarden".to_owned()).await;
        assert_eq!(granted.expect("a token"), "t");
        let forbidden = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403,
        });
        let refused = token(&api_server(403, forbidden), "jobwarden".to_owned()).await.expect_err("forbidden");
        assert!(refused.to_string().contains("bind the Role jobwarden-operator"), "{refused}");
    }
}
