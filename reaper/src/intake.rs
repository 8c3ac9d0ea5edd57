//! The intake: beats of sidecars and reports of node agents, over HTTPS.
//!
//! A request passes through: leading (503) → token (401) → body within limits (4xx) → pod or node (403) → state. What a
//! client says of itself is never believed: the pod and the node are what its token says, and the API server signed that.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use jobwarden_common::{
    beat::{BeatReply, BeatRequest, Command},
    identity::PodUid,
    names::{object, route},
    observation::{Report, ReportReply},
};
use jobwarden_serve::accept::read_body;
use serde::{Serialize, de::DeserializeOwned};

use self::{
    metrics::Metrics,
    refusal::Refusal,
    token::{Bearer, Verifier},
};
use crate::observer::Observer;

pub mod keys;
pub mod metrics;
pub mod refusal;
pub mod review;
#[cfg(test)]
mod tests;
pub mod token;

/// The largest body of beats. A beat has some 30 bytes.
const MAX_BEATS_BODY: usize = 16 * 1024;

/// LastBeat a request.
const MAX_BEATS: usize = 16;

/// The largest report.
const MAX_REPORT_BODY: usize = 4 * 1024 * 1024;

/// Pods a report: several times what Kubernetes supports on a node (110), and what larger nodes are known to run.
const MAX_REPORTED_PODS: usize = 2048;

/// Who we are and what we tell clients.
#[derive(Clone, Debug)]
pub struct IntakeSettings {
    /// The UID of the reaper's own pod: a beat of it proves that beats arrive.
    pub own_pod: PodUid,
    /// The namespace of the agents' service account.
    pub agent_namespace: String,
    /// Between two beats of a sidecar, before its jitter.
    pub beat_interval: Duration,
    /// Between two reports of an agent.
    pub report_interval: Duration,
}

/// The service of the reaper's HTTPS port; clones are the same one.
#[derive(Clone, Debug)]
pub struct Intake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: IntakeSettings,
    observer: Observer,
    tokens: Verifier,
    metrics: Metrics,
    ca: Arc<ArcSwapOption<String>>,
    /// The bundle that was in force first. Clients are told of any other, since they cannot be known to have it.
    first_ca: OnceLock<Arc<String>>,
}

/// How each certificate of a bundle begins (RFC 7468).
const BEGIN_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

impl Intake {
    /// Takes beats and reports for `observer` from whoever `tokens` verifies. `ca` is the bundle in force, PEM.
    pub fn new(
        settings: IntakeSettings,
        observer: Observer,
        tokens: Verifier,
        ca: Arc<ArcSwapOption<String>>,
        metrics: Metrics,
    ) -> Self {
        Self(Arc::new(Inner { settings, observer, tokens, metrics, ca, first_ca: OnceLock::new() }))
    }

    /// The answer to a request; always one.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Metrics { beats, beats_refused, observations, observations_refused, .. } = &self.0.metrics;
        let (answer, taken, refused) = match request.uri().path() {
            route::BEATS => (self.0.beats(request).await, beats, beats_refused),
            route::OBSERVATIONS => (self.0.observations(request).await, observations, observations_refused),
            _ => return refuse(&Refusal::NoSuchRoute),
        };
        match answer {
            Ok(Answer { body, count }) => {
                taken.inc_by(count);
                reply(StatusCode::OK, "application/json", body)
            }
            Err(refusal) => {
                tracing::debug!(reason = refusal.as_str(), %refusal, "request refused");
                refused.count(&refusal);
                refuse(&refusal)
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

/// A reply, and how many beats or reports it is for.
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
    async fn beats<B>(&self, request: Request<B>) -> Result<Answer, Refusal>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (bearer, BeatRequest { beats }) = self.read(request, MAX_BEATS_BODY).await?;
        if beats.is_empty() || beats.len() > MAX_BEATS {
            return Err(Refusal::Entries { max: MAX_BEATS });
        }
        let (mut command, mut taken) = (Command::Continue, beats.len());
        if bearer.pod == self.settings.own_pod {
            self.observer.own_beat_arrived();
            // Not a sidecar's.
            taken = 0;
        } else {
            for beat in &beats {
                let Bearer { pod, node, .. } = &*bearer;
                command = self.observer.with(|state, now| state.beat(pod, node.as_ref(), beat.phase, now))?;
            }
        }
        let next_in_ms = millis(self.settings.beat_interval);
        if command == Command::Stop {
            self.metrics.beats_told_to_stop.inc();
        }
        Ok(Answer::new(&BeatReply { next_in_ms, command, ca: self.newer_ca() }, taken))
    }

    async fn observations<B>(&self, request: Request<B>) -> Result<Answer, Refusal>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (bearer, report): (_, Report) = self.read(request, MAX_REPORT_BODY).await?;
        if bearer.service_account != object::AGENT || bearer.namespace != self.settings.agent_namespace {
            return Err(Refusal::NotAgent);
        }
        let node = bearer.node.as_ref().ok_or(Refusal::NoNode)?;
        if report.pods.len() > MAX_REPORTED_PODS {
            return Err(Refusal::Entries { max: MAX_REPORTED_PODS });
        }
        let pods = self.observer.with(|state, now| state.report(node, &report, now)).inspect_err(|foreign| {
            tracing::warn!(pod = %foreign.pod, node = %foreign.node, "an agent reports a pod of another node");
        })?;
        let next_in_ms = millis(self.settings.report_interval);
        Ok(Answer::new(&ReportReply { next_in_ms, pods, ca: self.newer_ca() }, 1))
    }

    /// Who asks, and what. The body of somebody unknown is not read.
    async fn read<B, T>(&self, request: Request<B>, max_body: usize) -> Result<(Arc<Bearer>, T), Refusal>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        T: DeserializeOwned,
    {
        if request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        if !self.observer.is_listening() {
            return Err(Refusal::NotLeader);
        }
        let token = bearer_token(request.headers()).ok_or(Refusal::MissingToken)?;
        let bearer = self.tokens.verify(token, SystemTime::now()).await?;
        let body = read_body(request.into_body(), max_body).await?;
        Ok((bearer, serde_json::from_slice(&body).map_err(Refusal::Content)?))
    }

    fn newer_ca(&self) -> Option<String> {
        let ca = self.ca.load_full()?;
        let first = self.first_ca.get_or_init(|| Arc::clone(&ca));
        // With two authorities in it a rotation is going on, and this process may have begun in the midst of it.
        let rotating = ca.matches(BEGIN_CERTIFICATE).nth(1).is_some();
        (*first != ca || rotating).then(|| ca.to_string())
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750).
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

fn refuse(refusal: &Refusal) -> Response<Full<Bytes>> {
    let mut response = reply(refusal.status(), "text/plain; charset=utf-8", format!("{refusal}\n"));
    let headers = response.headers_mut();
    if refusal.status() == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(refusal, Refusal::NotLeader) {
        // A new connection may reach the leader; this one never will.
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
