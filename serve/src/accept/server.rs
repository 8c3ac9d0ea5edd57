//! A server: a listener, its transport and its limits.

use std::{sync::Arc, task::Context, time::Duration};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};

use super::{
    accept_loop::AcceptLoop,
    connection::Connection,
    limits::Limits,
    metrics::Metrics,
    service::HttpService,
    slots::Slots,
    source::Source,
    stage::Stage,
    transport::{Plain, Tls, Transport},
};
use crate::shutdown::{Shutdown, ShutdownArgs};

/// A server on one port.
pub struct Server<T> {
    listener: TcpListener,
    transport: T,
    limits: Limits,
    metrics: Metrics,
}

impl Server<Plain> {
    /// Plain HTTP, without metrics of its connections.
    pub fn http(listener: TcpListener, limits: Limits) -> Self {
        Self::http_with(listener, limits, Metrics::default())
    }

    /// Plain HTTP.
    pub fn http_with(listener: TcpListener, limits: Limits, metrics: Metrics) -> Self {
        Self { listener, transport: Plain, limits, metrics }
    }
}

impl Server<Tls> {
    /// HTTPS.
    pub fn https(listener: TcpListener, tls: Arc<ServerConfig>, limits: Limits, metrics: Metrics) -> Self {
        Self { listener, transport: Tls::new(tls), limits, metrics }
    }
}

impl<T: Transport> Server<T> {
    /// Serves until the returned future is dropped.
    pub async fn run(self, service: impl HttpService) {
        // Nobody requests this shutdown, so the drain never starts.
        let drain = ShutdownArgs { drain_delay: Duration::ZERO, drain_timeout: Duration::ZERO };
        self.run_until(service, Shutdown::manual(), drain).await;
    }

    /// Serves until the shutdown is requested, then drains as the [module](super) describes. Returns when the last connection
    /// has ended or was aborted.
    pub async fn run_until(self, service: impl HttpService, shutdown: Shutdown, drain: ShutdownArgs) {
        let Self { listener, transport, limits, metrics } = self;
        let stage = Stage::default();
        let accept_loop =
            AcceptLoop { slots: Slots::new(limits), shutdown, drain, stage: stage.clone(), metrics: metrics.clone() };
        let serve = |stream: TcpStream, activity, slot| {
            set_options(&stream, limits.send_timeout);
            let (service, stage, metrics) = (service.clone(), stage.clone(), metrics.clone());
            Connection { limits, service, stage, metrics, activity, slot }.run(stream, transport.clone())
        };
        let accept = move |context: &mut Context<'_>| {
            listener.poll_accept(context).map_ok(|(stream, peer)| {
                let source = Source::of(peer, stream.local_addr().ok());
                (stream, source)
            })
        };
        accept_loop.run(accept, serve).await;
    }
}

/// How much of a response the kernel may hold before it is sent (`TCP_NOTSENT_LOWAT`, tcp(7)), in bytes. Without it, a client that reads
/// nothing holds some megabytes, and one that reads slowly seems to read nothing for a long time.
const UNSENT: u32 = 128 * 1024;

/// Responses are correct without these options, so a failure is only logged.
fn set_options(stream: &TcpStream, send_timeout: Duration) {
    let socket = socket2::SockRef::from(stream);
    if let Err(error) = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(send_timeout)))
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT))
    {
        tracing::debug!(%error, "cannot set socket options of a connection");
    }
}
