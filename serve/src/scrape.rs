//! The metrics port: plain HTTP for Prometheus, on a port of its own, so that a `NetworkPolicy` can name who may read it.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::accept::{self, Limits, Server};

/// The content type of the `OpenMetrics` specification 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The flag of the metrics port.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Metrics port")]
pub struct MetricsArgs {
    /// Address that serves /metrics over plain HTTP, without authentication; without the flag, no port is opened
    #[arg(long, env = "JOBWARDEN_METRICS_ADDR", value_name = "IP:PORT")]
    pub metrics_addr: Option<SocketAddr>,
}

/// The metrics port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} for metrics; set another address with --metrics-addr")]
pub struct MetricsError {
    addr: SocketAddr,
    source: std::io::Error,
}

impl MetricsArgs {
    /// Serves `/metrics` until the process ends, if there is an address. Adds the metrics of its own connections to the registry, and those
    /// of the admin port, which are `admin`. Call this inside a tokio runtime.
    pub fn serve(self, mut registry: Registry, admin: &accept::Metrics) -> Result<(), MetricsError> {
        let Some(addr) = self.metrics_addr else { return Ok(()) };
        let listener = accept::listen(addr).map_err(|source| MetricsError { addr, source })?;
        let connections = accept::Metrics::default();
        admin.register_as(&mut registry, "jobwarden_admin_connections");
        connections.register_as(&mut registry, "jobwarden_metrics_connections");
        tokio::spawn(serve_on(listener, Arc::new(registry), connections));
        Ok(())
    }
}

async fn serve_on(listener: TcpListener, registry: Arc<Registry>, connections: accept::Metrics) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &registry);
        async { Ok::<_, Infallible>(response) }
    });
    Server::http_with(listener, Limits::few_clients(), connections).run(service).await;
}

fn respond(method: &Method, path: &str, registry: &Registry) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if !matches!(*method, Method::GET | Method::HEAD) {
        return reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are supported\n");
    }
    if path != "/metrics" {
        return reply(StatusCode::NOT_FOUND, TEXT, "not found; available: /metrics\n");
    }
    let mut encoded = String::new();
    match prometheus_client::encoding::text::encode(&mut encoded, registry) {
        Ok(()) => reply(StatusCode::OK, OPEN_METRICS, encoded),
        Err(error) => {
            let message = format!("cannot encode the metrics: {error}\n");
            reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, message)
        }
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use hyper_util::rt::TokioIo;
    use prometheus_client::metrics::counter::Counter;
    use rstest::rstest;

    use super::*;

    #[tokio::test]
    async fn the_metrics_port_serves_metrics() {
        let (counter, mut registry) = (Counter::<u64>::default(), Registry::default());
        registry.register("jobwarden_things", "Things", counter.clone());
        counter.inc();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let addr = listener.local_addr().expect("bound");
        tokio::spawn(serve_on(listener, Arc::new(registry), accept::Metrics::default()));

        let stream = tokio::net::TcpStream::connect(addr).await.expect("the port is open");
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("no I/O yet");
        tokio::spawn(connection);
        let request = Request::get("/metrics").body(Full::new(Bytes::new())).expect("valid");
        let response = client.send_request(request).await.expect("an answer");
        assert_eq!(response.headers()["content-type"], OPEN_METRICS);
        let body = response.into_body().collect().await.expect("a whole body").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("text");
        assert!(body.contains("jobwarden_things_total 1"), "{body}");
    }

    #[tokio::test]
    async fn without_an_address_no_port_is_opened() {
        let args = MetricsArgs { metrics_addr: None };
        args.serve(Registry::default(), &accept::Metrics::default()).expect("nothing to do");
    }

    #[rstest]
    #[case(Method::POST, "/metrics", 405)]
    #[case(Method::GET, "/livez", 404)]
    fn other_methods_and_paths_are_rejected(#[case] method: Method, #[case] path: &str, #[case] status: u16) {
        assert_eq!(respond(&method, path, &Registry::default()).status().as_u16(), status);
    }
}
