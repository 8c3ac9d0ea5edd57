//! The routes.

use axum::{
    Extension, Json, Router,
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, header},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use jobwarden_common::{
    api::{AccessHealth, BreakerReleased, BreakerStatus, Explanation, Guards, JobList, SinkList, SinkTest},
    names::{OPERATOR_TOKEN_HEADER, api_route},
};
use jobwarden_serve::lease::Leadership;
use serde::Deserialize;

use super::{
    Api,
    access::{Caller, Right},
    list::{self, Wanted},
    problem::Failure,
    view,
};

/// What is served on the loopback, where no token is needed.
pub(super) fn loopback(api: Api) -> Router {
    let reading = reading(&api).layer(Extension(Caller::Loopback));
    reading.merge(operating(api)).fallback(|| async { Failure::no_route() })
}

/// What is served over TLS, to callers with a token.
pub(super) fn authenticated(api: Api) -> Router {
    let reading = reading(&api).layer(from_fn_with_state(api.clone(), authenticate));
    // Its own right takes its own token.
    reading.merge(operating(api)).fallback(|| async { Failure::no_route() })
}

fn reading(api: &Api) -> Router {
    Router::new()
        .route(api_route::JOBS, get(jobs))
        .route(&format!("{}/{{namespace}}/{{name}}", api_route::JOBS), get(job))
        .route(api_route::GUARDS, get(guards))
        .route(api_route::BREAKER, get(breaker))
        .route(api_route::SINKS, get(sinks))
        .route(api_route::ACCESS, get(access))
        .with_state(api.clone())
}

fn operating(api: Api) -> Router {
    Router::new()
        .route(api_route::BREAKER_RELEASE, post(release_breaker))
        .route(&format!("{}/{{name}}/test", api_route::SINKS), post(test_sink))
        .with_state(api)
}

/// Finds out who asks before anything else is done.
async fn authenticate(State(api): State<Api>, mut request: Request, next: Next) -> Result<Response, Failure> {
    let caller = api.access.authenticate(bearer_token(request.headers())).await.map_err(Failure::denied)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// The token of an `Authorization: Bearer` header (RFC 6750).
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    namespace: Option<String>,
    verdict: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

async fn jobs(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    choice: Result<Query<Choice>, QueryRejection>,
) -> Result<Json<JobList>, Failure> {
    api.leads()?;
    let Query(Choice { namespace, verdict, limit, after }) =
        choice.map_err(|error| Failure::bad_query(&error.body_text()))?;
    list::page(&api, &caller, Wanted { namespace, verdict, limit, after }).await.map(Json)
}

async fn job(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<Explanation>, Failure> {
    api.leads()?;
    // Before the Job is looked for: whether it exists is only for those who may read it.
    api.access.require(&caller, Right::GetJob(&namespace, Some(&name))).await.map_err(Failure::denied)?;
    let messages = api.access.allows(&caller, Right::ReadLogs(&namespace)).await.map_err(Failure::denied)?;
    let found = api.observer.find(&namespace, &name).and_then(|uid| view::explanation(&api, &uid));
    let mut found = found.ok_or_else(|| Failure::no_job(&namespace, &name))?;
    if !messages {
        view::withhold_messages(&mut found);
    }
    Ok(Json(found))
}

async fn guards(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Result<Json<Guards>, Failure> {
    api.leads()?;
    api.access.require(&caller, Right::ListJobs(None)).await.map_err(Failure::denied)?;
    Ok(Json(view::guards(&api)))
}

async fn breaker(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Result<Json<BreakerStatus>, Failure> {
    api.leads()?;
    api.access.require(&caller, Right::ListJobs(None)).await.map_err(Failure::denied)?;
    Ok(Json(view::breaker(&api)))
}

/// For `jobwarden check`, by any replica.
async fn access(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Result<Json<AccessHealth>, Failure> {
    api.access.require(&caller, Right::ListJobs(None)).await.map_err(Failure::denied)?;
    let (authentication, authorization) = api.access.probe().await;
    Ok(Json(AccessHealth {
        tls: api.tls,
        authentication_error: authentication.err(),
        authorization_error: authorization.err(),
    }))
}

async fn release_breaker(State(api): State<Api>, headers: HeaderMap) -> Result<Json<BreakerReleased>, Failure> {
    require_operator(&api, &headers).await?;
    let released = api.enforcer.release_breaker();
    tracing::warn!(released, "an operator has released the breaker");
    Ok(Json(BreakerReleased { released }))
}

async fn sinks(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Result<Json<SinkList>, Failure> {
    api.leads()?;
    api.access.require(&caller, Right::ListJobs(None)).await.map_err(Failure::denied)?;
    Ok(Json(SinkList { sinks: api.deliverer.reports() }))
}

async fn test_sink(
    State(api): State<Api>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Json<SinkTest>, Failure> {
    require_operator(&api, &headers).await?;
    let samples = api.deliverer.test(&name).await.ok_or_else(|| Failure::no_sink(&name))?;
    tracing::info!(sink = name, "an operator has tested a sink");
    Ok(Json(SinkTest { samples }))
}

/// Returns an error unless this process leads and the request has the token of an operator.
async fn require_operator(api: &Api, headers: &HeaderMap) -> Result<(), Failure> {
    api.leads()?;
    let token = headers.get(OPERATOR_TOKEN_HEADER).and_then(|value| value.to_str().ok());
    api.operators.verify(token).await.map_err(Failure::refused)
}

impl Api {
    /// Returns an error unless this process is the leader and receives beats.
    fn leads(&self) -> Result<(), Failure> {
        match &*self.leadership.borrow() {
            Leadership::Leader { .. } if self.observer.is_listening() => Ok(()),
            Leadership::Leader { .. } => Err(Failure::not_leading(None)),
            Leadership::Standby { holder } => Err(Failure::not_leading(holder.clone())),
        }
    }
}
