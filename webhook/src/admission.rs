//! The admission server: from an HTTP request with an `AdmissionReview` to the response.
//!
//! ```text
//!  Request ──► route ──► body (≤ 3 MiB) ──► review ──► patch ──► review ──► Response
//! ```
//!
//! A request that cannot be parsed but has a UID gets an `AdmissionReview` response with the reason, never a bare 500: the client
//! that creates the object sees it. Of an object only its name is logged.

mod kind;
mod metrics;
mod review;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Body;
use jobwarden_common::names::admission_route;
use jobwarden_inject::{
    endpoint::Endpoint,
    patch::{self, Effect, Mutation, Settings, Skip},
    view::{Job, Metadata, Pod},
};
use jobwarden_serve::accept::{BodyError, Budget, Limits};
use tokio::sync::watch;

pub use self::metrics::Metrics;
use self::{
    kind::Kind,
    metrics::Outcome,
    review::{Answer, Fault, Request as ReviewRequest},
};
use crate::limits::LimitRanges;

/// Answers admission requests. Clones share their state.
#[derive(Clone, Debug)]
pub struct Admission {
    settings: watch::Receiver<Arc<Settings>>,
    reaper: watch::Receiver<Option<Arc<Endpoint>>>,
    limits: LimitRanges,
    metrics: Metrics,
    max_body: usize,
    bodies: Budget,
}

impl Admission {
    /// Uses the values that `settings` and `limits` have at the time of a request. Pods are not admitted before `reaper` holds the
    /// endpoint for their sidecars. Bodies are read within the limits of `held`.
    pub fn new(
        settings: watch::Receiver<Arc<Settings>>,
        reaper: watch::Receiver<Option<Arc<Endpoint>>>,
        limits: LimitRanges,
        metrics: Metrics,
        held: Limits,
    ) -> Self {
        let Limits { max_body, max_bodies, .. } = held;
        Self { settings, reaper, limits, metrics, max_body, bodies: Budget::new(max_bodies) }
    }

    /// Answers one HTTP request.
    pub async fn respond<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Some(kind) = Kind::of_path(request.uri().path()) else {
            let paths = format!("the paths are {} and {}\n", admission_route::JOBS, admission_route::PODS);
            return text(StatusCode::NOT_FOUND, paths);
        };
        if request.method() != Method::POST {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        let body = match self.bodies.read(request.into_body(), self.max_body).await {
            Ok(body) => body,
            Err(error) => {
                let busy = matches!(error, BodyError::NoRoom);
                self.metrics.count(kind, if busy { Outcome::Busy } else { Outcome::Malformed });
                let status = match error {
                    BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                    BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
                    BodyError::NoRoom => StatusCode::TOO_MANY_REQUESTS,
                    BodyError::Broken(_) => StatusCode::BAD_REQUEST,
                };
                return text(status, format!("{error}\n"));
            }
        };
        let start = Instant::now();
        let response = self.review(kind, &body);
        self.metrics.observe(kind, start.elapsed());
        response
    }

    fn review(&self, kind: Kind, body: &[u8]) -> Response<Full<Bytes>> {
        let reviewed = match kind {
            Kind::Job => review::read::<Job<'_>>(body).map(|request| json(&self.admit_job(&request))),
            Kind::Pod => {
                let Some(reaper) = self.reaper.borrow().clone() else {
                    return text(StatusCode::SERVICE_UNAVAILABLE, "the webhook is starting, retry in a moment\n");
                };
                review::read::<Pod<'_>>(body).map(|request| json(&self.admit_pod(&request, &reaper)))
            }
        };
        match reviewed {
            Ok(response) => response,
            Err(Fault::NotAReview(reason)) => {
                self.metrics.count(kind, Outcome::Malformed);
                text(StatusCode::BAD_REQUEST, format!("{reason}\n"))
            }
            Err(Fault::Unreadable { uid, reason }) => {
                self.metrics.count(kind, Outcome::Malformed);
                // The reason may quote the object, so it is not logged.
                tracing::warn!(kind = kind.as_str(), request = %uid, "cannot parse an object that is being created");
                let reason = format!("jobwarden cannot parse this {}: {reason}", kind.as_str());
                json(&match kind {
                    // Many clients do not retry the creation of a Job.
                    Kind::Job => {
                        Answer::allowed(&uid, Mutation { warnings: vec![reason], ..Mutation::skip(Skip::Unreadable) })
                    }
                    // The Job controller retries a denied pod; an unwatched pod could die unnoticed.
                    Kind::Pod => Answer::denied(&uid, StatusCode::BAD_REQUEST, reason),
                })
            }
        }
    }

    fn admit_job<'r>(&self, request: &'r ReviewRequest<'_, Job<'_>>) -> Answer<'r> {
        let metadata = request.object.as_ref().and_then(|job| job.metadata.as_ref());
        let name = metadata.and_then(Metadata::name_or_prefix);
        let settings = Arc::clone(&self.settings.borrow());
        let bounds = self.limits.bounds(request.namespace());
        self.admit(
            Kind::Job,
            request,
            |job| patch::job::admit(job, request.namespace(), &settings, bounds.as_ref()),
            name,
        )
    }

    fn admit_pod<'r>(&self, request: &'r ReviewRequest<'_, Pod<'_>>, reaper: &Endpoint) -> Answer<'r> {
        let metadata = request.object.as_ref().and_then(|pod| pod.metadata.as_ref());
        let name = metadata.and_then(Metadata::name_or_prefix);
        let settings = Arc::clone(&self.settings.borrow());
        let bounds = self.limits.bounds(request.namespace());
        self.admit(
            Kind::Pod,
            request,
            |pod| patch::pod::admit(pod, request.namespace(), &settings, reaper, bounds.as_ref()),
            name,
        )
    }

    fn admit<'r, T>(
        &self,
        kind: Kind,
        request: &'r ReviewRequest<'_, T>,
        decide: impl FnOnce(&T) -> Result<Mutation, patch::Denial>,
        name: Option<&str>,
    ) -> Answer<'r> {
        let decision = match &request.object {
            _ if !request.is_about(kind.resource()) => Ok(Mutation::skip(Skip::OtherResource)),
            Some(object) if request.creates() => decide(object),
            _ => Ok(Mutation::skip(Skip::NotCreated)),
        };
        let (kind_name, namespace) = (kind.as_str(), request.namespace());
        match decision {
            Ok(mutation) => {
                tracing::debug!(kind = kind_name, namespace, name, effect = mutation.effect.as_str(), "admitted");
                if mutation.effect == Effect::Repaired {
                    tracing::warn!(
                        namespace,
                        name,
                        "another admission webhook removes restartPolicy from init containers"
                    );
                }
                self.metrics.count(kind, Outcome::Admitted(mutation.effect));
                Answer::allowed(&request.uid, mutation)
            }
            Err(denial) => {
                tracing::info!(kind = kind_name, namespace, name, %denial, "denied");
                self.metrics.count(kind, Outcome::Denied);
                Answer::denied(&request.uid, StatusCode::UNPROCESSABLE_ENTITY, denial.to_string())
            }
        }
    }
}

fn json(answer: &Answer<'_>) -> Response<Full<Bytes>> {
    match answer.to_json() {
        Ok(body) => reply(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the response: {error}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    reply(status, "text/plain; charset=utf-8", body)
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
