//! The routes.

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::HeaderMap,
    routing::{get, post},
};
use jobwarden_common::{
    api::{BreakerReleased, BreakerStatus, Explanation, Guards, JobLine, JobList},
    names::{OPERATOR_TOKEN_HEADER, api_route},
};
use jobwarden_serve::lease::Leadership;
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::{Api, problem::Failure, view};

/// The default number of Jobs per page.
const LIMIT: usize = 500;
/// The maximum number of Jobs per page.
const MAX_LIMIT: usize = 5000;

pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route(api_route::JOBS, get(jobs))
        .route(&format!("{}/{{namespace}}/{{name}}", api_route::JOBS), get(job))
        .route(api_route::GUARDS, get(guards))
        .route(api_route::BREAKER, get(breaker))
        .route(api_route::BREAKER_RELEASE, post(release_breaker))
        .fallback(|| async { Failure::no_route() })
        .with_state(api)
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    namespace: Option<String>,
    verdict: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

async fn jobs(State(api): State<Api>, choice: Result<Query<Choice>, QueryRejection>) -> Result<Json<JobList>, Failure> {
    api.leads()?;
    let Query(Choice { namespace, verdict, limit, after }) =
        choice.map_err(|error| Failure::bad_query(&error.body_text()))?;
    let limit = limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    // With very many Jobs this takes long enough to delay beats, so it runs on a blocking thread.
    let listing = spawn_blocking(move || {
        let mut lines: Vec<(String, JobLine)> = view::lines(&api, namespace.as_deref(), verdict.as_deref());
        lines.sort_by(|(one, _), (other, _)| one.cmp(other));
        lines
    });
    let lines = listing.await.map_err(|_| Failure::internal())?;
    let total = lines.len();
    let from = after.map_or(0, |after| lines.partition_point(|(key, _)| *key <= after));
    let more = lines.len() > from + limit;
    let page: Vec<_> = lines.into_iter().skip(from).take(limit).collect();
    let next = page.last().map(|(key, _)| key.clone()).filter(|_| more);
    Ok(Json(JobList { jobs: page.into_iter().map(|(_, line)| line).collect(), total, next }))
}

async fn job(
    State(api): State<Api>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<Explanation>, Failure> {
    api.leads()?;
    let found = api.observer.find(&namespace, &name).and_then(|uid| view::explanation(&api, &uid));
    found.map(Json).ok_or_else(|| Failure::no_job(&namespace, &name))
}

async fn guards(State(api): State<Api>) -> Result<Json<Guards>, Failure> {
    api.leads()?;
    Ok(Json(view::guards(&api)))
}

async fn breaker(State(api): State<Api>) -> Result<Json<BreakerStatus>, Failure> {
    api.leads()?;
    Ok(Json(view::breaker(&api)))
}

async fn release_breaker(State(api): State<Api>, headers: HeaderMap) -> Result<Json<BreakerReleased>, Failure> {
    api.leads()?;
    let token = headers.get(OPERATOR_TOKEN_HEADER).and_then(|value| value.to_str().ok());
    api.operators.verify(token).await.map_err(Failure::refused)?;
    let released = api.enforcer.release_breaker();
    tracing::warn!(released, "an operator has released the breaker");
    Ok(Json(BreakerReleased { released }))
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
