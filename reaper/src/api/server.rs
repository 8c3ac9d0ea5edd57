//! Serves the API over plain HTTP, with limits: clients come through the API server's proxy or a port-forward.

use axum::Router;
use hyper_util::service::TowerToHyperService;
use jobwarden_serve::accept::{Limits, Server};
use tokio::net::TcpListener;

use super::{Api, routes};

/// Serves the API on `listener` until the process ends.
pub async fn serve(listener: TcpListener, api: Api) {
    serve_router(listener, routes::router(api)).await;
}

pub(super) async fn serve_router(listener: TcpListener, router: Router) {
    Server::http(listener, Limits::few_clients()).run(TowerToHyperService::new(router)).await;
}
