//! The intake: receives beats of sidecars and reports of node agents over HTTPS.
//!
//! A beat passes these checks: this reaper is the leader (503) → token (401) → body within limits (4xx) → pod (403) → observer. A report
//! is larger, so its sender has to be known as an agent before its body is read: leader → token → service account and node, and that
//! the agent's pod exists on that node (403) → body → pods of that node (403) → observer. The identity of a client comes from its token
//! alone, which the API server signed.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use jobwarden_common::{
    beat::{BeatReply, BeatRequest, Command},
    identity::PodUid,
    names::route,
    observation::{Report, ReportReply},
};
use jobwarden_serve::accept::{Budget, read_body};
use serde::{Serialize, de::DeserializeOwned};

use self::{agents::Agents, bearer::Bearer, metrics::Metrics, rejection::Rejection, token::Verifier};
use crate::{clock, observer::Observer};

pub mod agents;
pub mod bearer;
pub mod claims;
pub mod key_set;
pub mod keys;
pub mod metrics;
pub mod rejection;
pub mod review;
#[cfg(test)]
mod tests;
pub mod token;

/// The maximum size of a beat request in bytes. One beat has about 30 bytes.
const MAX_BEATS_BODY: usize = 16 * 1024;

/// The most beats per request.
const MAX_BEATS: usize = 16;

/// The maximum size of a report in bytes.
const MAX_REPORT_BODY: usize = 4 * 1024 * 1024;

/// The maximum size of all large reports together, in bytes.
const MAX_REPORT_BODIES: usize = 32 * 1024 * 1024;

/// The most pods per report: several times what Kubernetes supports per node (110) and what large nodes run.
const MAX_REPORTED_PODS: usize = 2048;

/// Identity of this reaper, and intervals that its replies set.
#[derive(Clone, Debug)]
pub struct IntakeSettings {
    /// The UID of the reaper's own pod. A beat of this pod proves that beats arrive.
    pub own_pod: PodUid,
    /// The interval between two beats of a sidecar, before jitter.
    pub beat_interval: Duration,
    /// The interval between two reports of an agent.
    pub report_interval: Duration,
}

/// The service on the reaper's HTTPS port. Clones share the same state.
#[derive(Clone, Debug)]
pub struct Intake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: IntakeSettings,
    observer: Observer,
    tokens: Verifier,
    agents: Agents,
    report_bodies: Budget,
    metrics: Metrics,
    ca: Arc<ArcSwapOption<String>>,
    /// The CA bundle at the first reply. Replies carry every later bundle, because clients may not have it yet.
    first_ca: OnceLock<Arc<String>>,
}

/// The first line of each certificate in a bundle (RFC 7468).
const BEGIN_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

impl Intake {
    /// Passes beats with a token that `tokens` verifies, and such reports of `agents`, to `observer`. `ca` is the current CA bundle in PEM.
    pub fn new(
        settings: IntakeSettings,
        observer: Observer,
        tokens: Verifier,
        agents: Agents,
        ca: Arc<ArcSwapOption<String>>,
        metrics: Metrics,
    ) -> Self {
        let (report_bodies, first_ca) = (Budget::new(MAX_REPORT_BODIES), OnceLock::new());
        Self(Arc::new(Inner { settings, observer, tokens, agents, report_bodies, metrics, ca, first_ca }))
    }

    /// Handles a request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Metrics { beats, beats_rejected, observations, observations_rejected, .. } = &self.0.metrics;
        let (answer, accepted, rejected) = match request.uri().path() {
            route::BEATS => (self.0.beats(request).await, beats, beats_rejected),
            route::OBSERVATIONS => (self.0.observations(request).await, observations, observations_rejected),
            _ => return reject(&Rejection::NoSuchRoute),
        };
        match answer {
            Ok(Answer { body, count }) => {
                accepted.inc_by(count);
                reply(StatusCode::OK, "application/json", body)
            }
            Err(rejection) => {
                tracing::debug!(reason = rejection.as_str(), %rejection, "request rejected");
                rejected.count(&rejection);
                reject(&rejection)
            }
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Intake {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let intake = self.clone();
        Box::pin(async move { Ok(intake.answer(request).await) })
    }
}

/// A reply, and the number of accepted beats or reports.
struct Answer {
    body: Vec<u8>,
    count: u64,
}

impl Answer {
    fn new(reply: &impl Serialize, count: usize) -> Self {
        let body = serde_json::to_vec(reply).expect("replies are plain values");
        Self { body, count: count.try_into().unwrap_or(u64::MAX) }
    }
}

impl Inner {
    async fn beats<B>(&self, request: Request<B>) -> Result<Answer, Rejection>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let bearer = self.authenticate(&request).await?;
        let body = read_body(request.into_body(), MAX_BEATS_BODY).await?;
        let BeatRequest { beats } = parse(&body)?;
        if beats.is_empty() || beats.len() > MAX_BEATS {
            return Err(Rejection::Entries { max: MAX_BEATS });
        }
        let (mut command, mut accepted) = (Command::Continue, beats.len());
        if bearer.pod == self.settings.own_pod {
            self.observer.own_beat_arrived();
            // Not counted: the beat is not a sidecar's.
            accepted = 0;
        } else {
            for beat in &beats {
                let Bearer { pod, node, .. } = &*bearer;
                command = self.observer.with(|index, now| index.beat(pod, node.as_ref(), beat.phase, now))?;
            }
        }
        let next_in_ms = millis(self.settings.beat_interval);
        if command == Command::Stop {
            self.metrics.stop_replies.inc();
        }
        Ok(Answer::new(&BeatReply { next_in_ms, command, ca: self.newer_ca() }, accepted))
    }

    async fn observations<B>(&self, request: Request<B>) -> Result<Answer, Rejection>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let bearer = self.authenticate(&request).await?;
        let node = self.agents.node_of(&bearer)?;
        let body = self.report_bodies.read(request.into_body(), MAX_REPORT_BODY).await?;
        let report: Report = parse(&body)?;
        // It is large, and what was read of it is in `report` now.
        drop(body);
        if report.pods.len() > MAX_REPORTED_PODS {
            return Err(Rejection::Entries { max: MAX_REPORTED_PODS });
        }
        let pods = self.observer.with(|index, now| index.report(node, &report, now)).inspect_err(|foreign| {
            tracing::warn!(pod = %foreign.pod, node = %foreign.node, "rejected a report: the agent reported a pod of another node");
        })?;
        let next_in_ms = millis(self.settings.report_interval);
        Ok(Answer::new(&ReportReply { next_in_ms, pods, ca: self.newer_ca() }, 1))
    }

    /// Who sends the request, by its token. Nothing of the body is read.
    async fn authenticate<B>(&self, request: &Request<B>) -> Result<Arc<Bearer>, Rejection> {
        if request.method() != Method::POST {
            return Err(Rejection::Method);
        }
        if !self.observer.is_listening() {
            return Err(Rejection::NotLeader);
        }
        let token = bearer_token(request.headers()).ok_or(Rejection::MissingToken)?;
        self.tokens.verify(token, clock::now().into()).await
    }

    fn newer_ca(&self) -> Option<String> {
        let ca = self.ca.load_full()?;
        let first = self.first_ca.get_or_init(|| Arc::clone(&ca));
        // Two certificates mean that a rotation is in progress, and this process may have started during the rotation.
        let rotating = ca.matches(BEGIN_CERTIFICATE).nth(1).is_some();
        (*first != ca || rotating).then(|| ca.to_string())
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Rejection> {
    serde_json::from_slice(body).map_err(Rejection::Content)
}

/// The token of an `Authorization: Bearer` header (RFC 6750).
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

fn reject(rejection: &Rejection) -> Response<Full<Bytes>> {
    let mut response = reply(rejection.status(), "text/plain; charset=utf-8", format!("{rejection}\n"));
    let headers = response.headers_mut();
    if rejection.status() == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(rejection, Rejection::NotLeader) {
        // A new connection may reach the leader.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
