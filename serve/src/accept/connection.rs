//! One connection, from its handshake to its end.
//!
//! It is *served* while requests pass, and *rests* when none has for a while: then nothing of it is kept but its TLS session.

use std::{future::pending, io, pin::pin, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::Service,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, error::Elapsed, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    Limits, Metrics, Refusal,
    resting::{Activity, Noted, Watched},
};

/// The most that is buffered of a connection, in bytes; a head has to fit into it. A body passes through in parts. hyper's default
/// of some 400 kB would let clients hold a gigabyte by heads that they never finish.
pub(super) const BUFFER: usize = 64 * 1024;

/// What one connection needs to be served.
pub(super) struct Connection<S> {
    pub(super) limits: Limits,
    pub(super) service: S,
    /// The server stops: finish the request in flight and close.
    pub(super) ending: CancellationToken,
    pub(super) metrics: Metrics,
}

/// The stream of one connection. On the heap, so that to hand it on is to hand on a pointer.
type Stream = Box<TlsStream<TcpStream>>;

/// A connection that rests, and what was read of it that belongs to the next request.
struct Resting<S> {
    stream: Stream,
    first: Bytes,
    service: S,
}

impl<S, B> Connection<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) async fn run(self, stream: TcpStream, acceptor: TlsAcceptor) {
        let _counted = self.metrics.open_connection();
        // On the heap, so that its room is given back when it is done.
        let handshake = Box::pin(async {
            let handshake = timeout(self.limits.handshake_timeout, acceptor.accept(stream));
            Ok::<_, Elapsed>(handshake.await?.map(Box::new))
        });
        match handshake.await {
            Ok(Ok(stream)) => self.take_turns(stream).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                self.metrics.refused(Refusal::Handshake);
            }
            Err(_) => self.metrics.refused(Refusal::HandshakeTimeout),
        }
    }

    /// Serves and rests, until the end.
    async fn take_turns(self, stream: Stream) {
        let Self { limits, service, ending, metrics } = self;
        let mut turn = Resting { stream, first: Bytes::new(), service };
        let mut first_head = Some(limits.header_timeout);
        loop {
            let served = Box::pin(serve(turn, first_head.take(), &limits, &ending, &metrics)).await;
            let Some(mut resting) = served else { return };
            let counted = metrics.rest();
            let more = tokio::select! {
                more = timeout(limits.idle_timeout, resting.is_woken()) => more.unwrap_or(Ok(false)),
                () = ending.cancelled() => Ok(false),
            };
            drop(counted);
            match more {
                Ok(true) => turn = resting,
                Ok(false) => {
                    // As good as the peer lets it be: it is told that nothing more will come.
                    let _ = resting.stream.shutdown().await;
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "connection broke");
                    return;
                }
            }
        }
    }
}

impl<S> Resting<S> {
    /// Waits until the peer says something; `false` if it will not.
    async fn is_woken(&mut self) -> io::Result<bool> {
        Ok(!self.stream.fill_buf().await?.is_empty())
    }
}

/// Serves requests until none comes; nothing is left of a connection that has ended. `first_head` is how long the head of the
/// first request may take.
async fn serve<S, B>(
    turn: Resting<S>,
    first_head: Option<Duration>,
    limits: &Limits,
    ending: &CancellationToken,
    metrics: &Metrics,
) -> Option<Resting<S>>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Resting { stream, first, service } = turn;
    let activity = Activity::default();
    let stream = Watched { stream, first, activity: activity.clone() };
    let service = Noted { service, activity: activity.clone() };
    // hyper's own limit also runs while a connection is idle, so it is the one on idleness.
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut first_head = pin!(async {
        match first_head {
            Some(limit) => sleep(limit).await,
            None => pending().await,
        }
    });
    let (mut awaited, mut ends) = (true, false);
    let mut look = pin!(sleep(limits.rest_after));
    let mut requests = activity.requests();
    loop {
        tokio::select! {
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection broke");
                }
                return None;
            }
            () = first_head.as_mut(), if awaited => {
                awaited = false;
                if activity.requests() == 0 {
                    metrics.refused(Refusal::HeaderTimeout);
                    return None;
                }
            }
            () = ending.cancelled(), if !ends => {
                ends = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            () = look.as_mut() => {
                let before = std::mem::replace(&mut requests, activity.requests());
                if requests == before && requests > 0 && activity.is_at_rest() && !ends {
                    let http1::Parts { io, read_buf, service, .. } = connection.into_parts();
                    let Watched { stream, first: _, activity: _ } = io.into_inner();
                    // What is empty would keep the whole buffer nevertheless.
                    let first = Bytes::copy_from_slice(&read_buf);
                    return Some(Resting { stream, first, service: service.service });
                }
                look.as_mut().reset(Instant::now() + limits.rest_after);
            }
        }
    }
}
