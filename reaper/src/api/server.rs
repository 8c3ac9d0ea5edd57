//! Serving over plain HTTP, with limits: the API server's proxy, or a port-forward, is in front.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, time::sleep};

use super::{Api, routes};

/// People and their tools are few.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take over the head of a request, and leave a connection idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// What hyper may buffer of a head.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// After a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Answers on `listener` until the process ends.
pub async fn serve(listener: TcpListener, api: Api) {
    serve_router(listener, routes::router(api)).await;
}

pub(super) async fn serve_router(listener: TcpListener, router: Router) {
    let service = TowerToHyperService::new(router);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return; // Nobody closes the semaphore.
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the API");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = service.clone();
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the API broke");
            }
            drop(slot);
        });
    }
}
