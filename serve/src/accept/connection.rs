//! One connection, from its handshake to its end.
//!
//! A connection is *served* while requests arrive, and *rests* when none has arrived for a while: then only its TLS session is kept.

use std::{future::pending, pin::pin, time::Duration};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    activity::{Activity, Tracked, TrackedService},
    limits::{Limits, MAX_BUFFER},
    metrics::{Metrics, Refusal},
    service::HttpService,
    stage::Stage,
    transport::{Stream, Transport},
};

/// How long a connection without any request stays open after the listener has closed: its first request is probably under way if
/// it was accepted just before.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// What one connection needs to be served.
pub(super) struct Connection<S> {
    pub(super) limits: Limits,
    pub(super) service: S,
    pub(super) stage: Stage,
    pub(super) metrics: Metrics,
}

/// A connection that rests, and the bytes already read that belong to the next request.
struct Resting<T, S> {
    stream: T,
    unread: Bytes,
    service: S,
}

impl<S: HttpService> Connection<S> {
    /// Performs the handshake, then serves the connection until its end.
    pub(super) async fn run<T: Transport>(self, tcp: TcpStream, transport: T) {
        let _counted = self.metrics.open_connection();
        // On the heap, so that its memory is released when it is done.
        let handshake = Box::pin(timeout(self.limits.handshake_timeout, transport.handshake(tcp)));
        match handshake.await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                self.metrics.refused(Refusal::Handshake);
            }
            Err(_) => self.metrics.refused(Refusal::HandshakeTimeout),
        }
    }

    /// Alternates between serving requests and resting, until the end of the connection.
    pub(super) async fn serve<T: Stream>(self, stream: T) {
        let Self { limits, service, stage, metrics } = self;
        let mut turn = Resting { stream, unread: Bytes::new(), service };
        let mut first_head = Some(limits.header_timeout);
        loop {
            let served = Box::pin(serve_requests(turn, first_head.take(), &limits, &stage, &metrics)).await;
            let Some(mut resting) = served else { return };
            let counted = metrics.rest();
            let more = tokio::select! {
                more = timeout(limits.idle_timeout, resting.stream.wait_readable()) => more.unwrap_or(Ok(false)),
                () = stage.closing() => Ok(false),
            };
            drop(counted);
            match more {
                Ok(true) => turn = resting,
                Ok(false) => {
                    // Best effort: tells the peer that nothing more follows.
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

/// Serves requests until none arrives for a while; `None` if the connection has ended. `first_head` is the timeout for the head of
/// the first request.
async fn serve_requests<T: Stream, S: HttpService>(
    turn: Resting<T, S>,
    first_head: Option<Duration>,
    limits: &Limits,
    stage: &Stage,
    metrics: &Metrics,
) -> Option<Resting<T, S>> {
    let Resting { stream, unread, service } = turn;
    let activity = Activity::new(stage.clone());
    let stream = Tracked { stream, unread, activity: activity.clone() };
    let service = TrackedService { service, activity: activity.clone() };
    // hyper's header timeout also runs while a connection is idle, so it is the idle timeout here.
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let is_new = first_head.is_some();
    let mut first_head = pin!(async {
        match first_head {
            Some(limit) => sleep(limit).await,
            None => pending().await,
        }
    });
    let mut close = pin!(async {
        stage.closing().await;
        if is_new && activity.requests() == 0 {
            sleep(FIRST_REQUEST_GRACE).await;
        }
    });
    let (mut awaits_first_head, mut closing) = (true, false);
    let mut rest_check = pin!(sleep(limits.rest_after));
    let mut requests = activity.requests();
    loop {
        tokio::select! {
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection broke");
                }
                return None;
            }
            () = first_head.as_mut(), if awaits_first_head => {
                awaits_first_head = false;
                if activity.requests() == 0 {
                    metrics.refused(Refusal::HeaderTimeout);
                    return None;
                }
            }
            () = close.as_mut(), if !closing => {
                closing = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
            () = rest_check.as_mut() => {
                let before = std::mem::replace(&mut requests, activity.requests());
                if requests == before && requests > 0 && activity.is_idle() && !closing {
                    let http1::Parts { io, read_buf, service, .. } = connection.into_parts();
                    let Tracked { stream, unread: _, activity: _ } = io.into_inner();
                    // Copied, since even an empty slice would keep the whole buffer.
                    let unread = Bytes::copy_from_slice(&read_buf);
                    return Some(Resting { stream, unread, service: service.service });
                }
                rest_check.as_mut().reset(Instant::now() + limits.rest_after);
            }
        }
    }
}
