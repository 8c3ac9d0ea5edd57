//! The admin port: plain HTTP for the kubelet's probes and for Prometheus.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use jobwarden_common::names::port;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    accept::{Limits, Server},
    shutdown::Shutdown,
};

/// The content type of the `OpenMetrics` specification 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The flag of the admin port; `PORT` is its default.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Admin port")]
pub struct AdminArgs<const PORT: u16 = { port::ADMIN }> {
    /// Address that serves /livez, /readyz and /metrics over plain HTTP
    #[arg(long, env = "JOBWARDEN_ADMIN_ADDR", default_value_t = SocketAddr::from(([0, 0, 0, 0], PORT)), value_name = "IP:PORT")]
    pub admin_addr: SocketAddr,
}

/// The admin port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} for probes and metrics; set another address with --admin-addr")]
pub struct AdminError {
    addr: SocketAddr,
    source: std::io::Error,
}

/// Whether a process is ready: it is when each of its conditions is. Clones share the conditions.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Condition>>>);

#[derive(Clone, Debug)]
enum Condition {
    Ready,
    NotReady(String),
}

impl Readiness {
    /// Ready, because it has no conditions yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition that is not ready yet, and returns the gate that sets it. The same name returns the same condition.
    pub fn condition(&self, name: &'static str) -> Gate {
        let gate = Gate { name, of: self.clone() };
        self.with(|conditions| {
            conditions.entry(name).or_insert_with(|| Condition::NotReady("starting".to_owned()));
        });
        gate
    }

    /// The conditions that are not ready, as `name: reason`.
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
        // A panic elsewhere cannot leave a map of plain values inconsistent.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Sets one condition of a [`Readiness`].
#[derive(Clone, Debug)]
pub struct Gate {
    name: &'static str,
    of: Readiness,
}

impl Gate {
    /// The condition is ready.
    pub fn ready(&self) {
        self.set(Condition::Ready);
    }

    /// The condition is not ready, for a reason that `/readyz` shows.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Condition::NotReady(reason.into()));
    }

    fn set(&self, condition: Condition) {
        self.of.with(|conditions| conditions.insert(self.name, condition));
    }
}

/// Serves `/livez`, `/readyz` and `/metrics` until the process ends: during the drain too, when `/readyz` responds 503.
/// The task does not end by itself.
pub async fn serve(
    addr: SocketAddr,
    registry: Arc<Registry>,
    readiness: Readiness,
    shutdown: Shutdown,
) -> Result<JoinHandle<()>, AdminError> {
    let listener = TcpListener::bind(addr).await.map_err(|source| AdminError { addr, source })?;
    Ok(tokio::spawn(serve_on(listener, registry, readiness, shutdown)))
}

async fn serve_on(listener: TcpListener, registry: Arc<Registry>, readiness: Readiness, shutdown: Shutdown) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &registry, &readiness, &shutdown);
        async { Ok::<_, Infallible>(response) }
    });
    Server::http(listener, Limits::few_clients()).run(service).await;
}

fn respond(
    method: &Method,
    path: &str,
    registry: &Registry,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are supported\n");
    }
    match path {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => ready(readiness, shutdown),
        "/metrics" => metrics(registry),
        _ => text(StatusCode::NOT_FOUND, "not found; available: /livez, /readyz, /metrics\n"),
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
