//! Serves the API: on the loopback over plain HTTP, and over TLS to callers with tokens. Both have limits on what clients can hold.

use axum::Router;
use hyper_util::service::TowerToHyperService;
use jobwarden_serve::{
    accept::{Limits, Metrics, Server},
    tls::ServerIdentity,
};
use tokio::net::TcpListener;

use super::{Api, routes};

/// Serves the API without tokens on `listener`, which listens on the loopback, until the process ends.
pub async fn serve(listener: TcpListener, api: Api) {
    serve_router(listener, routes::loopback(api)).await;
}

/// Serves the API with tokens on `listener` until the process ends.
pub async fn serve_tls(listener: TcpListener, identity: ServerIdentity, api: Api) {
    let router = TowerToHyperService::new(routes::authenticated(api));
    Server::https(listener, identity.server_config(), Limits::few_clients(), Metrics::default()).run(router).await;
}

pub(super) async fn serve_router(listener: TcpListener, router: Router) {
    Server::http(listener, Limits::few_clients()).run(TowerToHyperService::new(router)).await;
}
