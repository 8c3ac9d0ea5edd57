//! Responses that are not a success: what went wrong, and what to do about it.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jobwarden_common::api::Problem;

use super::{access::Denied, operator::Refusal};

/// A response that is not a success.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    problem: Problem,
}

impl Failure {
    fn new(status: StatusCode, error: String, hint: String) -> Self {
        Self { status, problem: Problem { error, hint, leader: None } }
    }

    pub(super) fn not_leading(leader: Option<String>) -> Self {
        let error = "this replica is not the leader; only the leader receives beats and reports".to_owned();
        let hint = match &leader {
            Some(leader) => format!("ask {leader}, or use `jobwarden explain`, which finds the leader"),
            None => "the leader is not known yet; try again in a moment".to_owned(),
        };
        let Self { status, problem } = Self::new(StatusCode::SERVICE_UNAVAILABLE, error, hint);
        Self { status, problem: Problem { leader, ..problem } }
    }

    pub(super) fn no_job(namespace: &str, name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("the Job {namespace}/{name} is not watched"),
            "check that it exists and is enrolled: its namespace has the label jobwarden.io/inject=enabled, the Job has the label \
             jobwarden.io/enrolled=true and no label jobwarden.io/inject=false"
                .to_owned(),
        )
    }

    pub(super) fn no_sink(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is no sink {name}"),
            "`jobwarden sinks` shows the names of the configured sinks".to_owned(),
        )
    }

    pub(super) fn refused(refusal: Refusal) -> Self {
        let (status, error) = match refusal {
            Refusal::NoToken => (StatusCode::UNAUTHORIZED, "the request has no token of an operator"),
            Refusal::NotAnOperator => (StatusCode::FORBIDDEN, "the token is not that of an operator"),
            Refusal::Unverifiable => {
                (StatusCode::SERVICE_UNAVAILABLE, "the API server cannot verify the token at the moment")
            }
        };
        let hint = "use `jobwarden breaker release` or `jobwarden sinks test`, which request a token of the service account jobwarden-operator; \
                    bind the Role jobwarden-operator to who may do so";
        Self::new(status, error.to_owned(), hint.to_owned())
    }

    pub(super) fn denied(denied: Denied) -> Self {
        let (status, error) = match denied {
            Denied::NoToken => (StatusCode::UNAUTHORIZED, "the request has no bearer token"),
            Denied::BadToken => (StatusCode::UNAUTHORIZED, "the token is not valid for the audience jobwarden-api"),
            Denied::Forbidden => (StatusCode::FORBIDDEN, "the user of the token may not read this"),
            Denied::Unverifiable => {
                (StatusCode::SERVICE_UNAVAILABLE, "the API server cannot review the request at the moment")
            }
        };
        let hint = "send a token for the audience jobwarden-api (kubectl create token NAME --audience=jobwarden-api) of a user who may list \
                    or get jobs.batch in the namespace; guards and breaker take list in all namespaces";
        Self::new(status, error.to_owned(), hint.to_owned())
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "internal error while building the response".to_owned(),
            "the reaper's log has the cause; please report it to the developers of jobwarden".to_owned(),
        )
    }

    pub(super) fn no_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no such route".to_owned(),
            "the routes are /v1/jobs, /v1/jobs/{namespace}/{name}, /v1/guards, /v1/breaker, /v1/access and, with POST, /v1/breaker/release"
                .to_owned(),
        )
    }

    pub(super) fn bad_query(error: &impl ToString) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            error.to_string(),
            "the query parameters are namespace, verdict, limit and after".to_owned(),
        )
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { status, problem } = self;
        let mut response = (status, Json(problem)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
