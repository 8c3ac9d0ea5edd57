//! The admin port: plain HTTP for the kubelet's probes and for Prometheus.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use jobwarden_common::names::port;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

use crate::shutdown::Shutdown;

/// What Prometheus asks for, by the `OpenMetrics` specification 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Probes and scrapes are few; more than this is somebody else.
const MAX_CONNECTIONS: usize = 64;

/// How long a client may take over the head of a request, and leave a connection idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// After a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The flag of the admin port; `PORT` is the default.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Admin port")]
pub struct AdminArgs<const PORT: u16 = { port::ADMIN }> {
    /// Where to serve /livez, /readyz and /metrics over plain HTTP
    #[arg(long, env = "JOBWARDEN_ADMIN_ADDR", default_value_t = SocketAddr::from(([0, 0, 0, 0], PORT)), value_name = "IP:PORT")]
    pub admin_addr: SocketAddr,
}

/// The admin port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} for probes and metrics; --admin-addr chooses another address")]
pub struct AdminError {
    addr: SocketAddr,
    source: std::io::Error,
}

/// Whether a process is ready: when each of its conditions is.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Condition>>>);

#[derive(Clone, Debug)]
enum Condition {
    Ready,
    NotReady(String),
}

impl Readiness {
    /// Without conditions: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// A further condition, not ready yet. The gate is for whoever knows; the same name gives the same condition.
    pub fn condition(&self, name: &'static str) -> Gate {
        let gate = Gate { name, of: self.clone() };
        self.with(|conditions| {
            conditions.entry(name).or_insert_with(|| Condition::NotReady("starting".to_owned()));
        });
        gate
    }

    /// What is not ready, as `name: reason`; empty when everything is.
    pub fn unready(&self) -> Vec<String> {
        self.with(|conditions| {
            let reasons = conditions.iter().filter_map(|(name, condition)| match condition {
                Condition::Ready => None,
                Condition::NotReady(reason) => Some(format!("{name}: {reason}")),
            });
            reasons.collect()
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<&'static str, Condition>) -> T) -> T {
        // A map of plain values is whole after a panic elsewhere.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One condition of a [`Readiness`], in the hands of whoever knows about it.
#[derive(Clone, Debug)]
pub struct Gate {
    name: &'static str,
    of: Readiness,
}

impl Gate {
    /// The condition holds.
    pub fn ready(&self) {
        self.set(Condition::Ready);
    }

    /// The condition does not hold, for a reason that `/readyz` shows.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Condition::NotReady(reason.into()));
    }

    fn set(&self, condition: Condition) {
        self.of.with(|conditions| conditions.insert(self.name, condition));
    }
}

/// Serves `/livez`, `/readyz` and `/metrics` until the process ends: through the drain too, when `/readyz` says 503.
/// The task does not end by itself; abort it or leave it.
pub async fn serve(
    addr: SocketAddr,
    registry: Arc<Registry>,
    readiness: Readiness,
    shutdown: Shutdown,
) -> Result<JoinHandle<()>, AdminError> {
    let listener = TcpListener::bind(addr).await.map_err(|source| AdminError { addr, source })?;
    Ok(tokio::spawn(serve_on(listener, registry, readiness, shutdown)))
}

/// The same on a listener that is already there.
pub async fn serve_on(listener: TcpListener, registry: Arc<Registry>, readiness: Readiness, shutdown: Shutdown) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return; // Nobody closes the semaphore.
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the admin port");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (registry, readiness, shutdown) = (Arc::clone(&registry), readiness.clone(), shutdown.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = respond(request.method(), request.uri().path(), &registry, &readiness, &shutdown);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the admin port broke");
            }
            drop(slot);
        });
    }
}

fn respond(
    method: &Method,
    path: &str,
    registry: &Registry,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
    }
    match path {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => ready(readiness, shutdown),
        "/metrics" => metrics(registry),
        _ => text(StatusCode::NOT_FOUND, "here are /livez, /readyz and /metrics\n"),
    }
}

fn ready(readiness: &Readiness, shutdown: &Shutdown) -> Response<Full<Bytes>> {
    if shutdown.is_requested() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
    }
    let unready = readiness.unready();
    if unready.is_empty() {
        return text(StatusCode::OK, "ok\n");
    }
    let mut list = String::new();
    for condition in unready {
        // Writing to a String cannot fail.
        let _ = writeln!(list, "{condition}");
    }
    text(StatusCode::SERVICE_UNAVAILABLE, list)
}

fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    let mut encoded = String::new();
    match prometheus_client::encoding::text::encode(&mut encoded, registry) {
        Ok(()) => reply(StatusCode::OK, OPEN_METRICS, encoded),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode the metrics: {error}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    reply(status, "text/plain; charset=utf-8", body)
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
