//! The admin port: plain HTTP for the kubelet's probes, and for nothing else.
//!
//! Everybody who can reach it may use it, because no `NetworkPolicy` can name the kubelet. So it tells no more than whether the process is
//! ready, and who holds its connections loses the oldest of them to the next probe.

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
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    accept::{self, Limits, Server},
    shutdown::Shutdown,
};

/// The flag of the admin port of webhook and reaper. The agent has its own default, on the loopback.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Admin port")]
pub struct AdminArgs {
    /// Address that serves /livez and /readyz over plain HTTP, without authentication
    #[arg(long, env = "JOBWARDEN_ADMIN_ADDR", default_value_t = SocketAddr::from(([0, 0, 0, 0], port::ADMIN)), value_name = "IP:PORT")]
    pub admin_addr: SocketAddr,
}

/// The admin port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} for probes; set another address with --admin-addr")]
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

/// Serves `/livez` and `/readyz` until the process ends: during the drain too, when `/readyz` responds 503. `connections` counts the
/// connections. The task does not end by itself. Call this inside a tokio runtime.
pub fn serve(
    addr: SocketAddr,
    connections: accept::Metrics,
    readiness: Readiness,
    shutdown: Shutdown,
) -> Result<JoinHandle<()>, AdminError> {
    let listener = accept::listen(addr).map_err(|source| AdminError { addr, source })?;
    Ok(tokio::spawn(serve_on(listener, connections, readiness, shutdown)))
}

async fn serve_on(listener: TcpListener, connections: accept::Metrics, readiness: Readiness, shutdown: Shutdown) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &readiness, &shutdown);
        async { Ok::<_, Infallible>(response) }
    });
    Server::http_with(listener, Limits::few_clients(), connections).run(service).await;
}

fn respond(method: &Method, path: &str, readiness: &Readiness, shutdown: &Shutdown) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are supported\n");
    }
    match path {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => ready(readiness, shutdown),
        _ => text(StatusCode::NOT_FOUND, "not found; available: /livez, /readyz\n"),
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

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests;
