//! One connection, from its handshake to its end.
//!
//! A connection is *served* while requests arrive, and *rests* when none has arrived for a while: then only its TLS session is kept.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    activity::{Activity, Overdue, Tracked, TrackedService},
    limits::{Limits, MAX_BUFFER, MAX_HEAD},
    metrics::{Closing, Metrics, Refusal},
    service::HttpService,
    slots::Slot,
    stage::Stage,
    transport::{Stream, Transport},
};

/// How long a connection without any request stays open after the listener has closed: its first request is probably under way if
/// it was accepted just before.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// How long the end of a TLS session may take to be sent.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What one connection needs to be served.
pub(super) struct Connection<S> {
    pub(super) limits: Limits,
    pub(super) service: S,
    pub(super) stage: Stage,
    pub(super) metrics: Metrics,
    pub(super) activity: Activity,
    pub(super) slot: Slot,
}

/// A connection that rests, and the bytes already read that belong to the next request.
struct Resting<T, S> {
    stream: T,
    unread: Bytes,
    service: S,
}

impl<S: HttpService> Connection<S> {
    /// Performs the handshake once it is this newcomer's turn, then serves the connection until its end.
    pub(super) async fn run<T: Transport>(self, tcp: TcpStream, transport: T) {
        let _counted = self.metrics.open_connection();
        let Ok(newcomer) = self.slot.newcomer(self.limits.handshake_timeout).await else {
            self.metrics.refused(Refusal::Source);
            return;
        };
        self.activity.set_newcomer(newcomer);
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
        let Self { limits, service, stage, metrics, activity, slot: _slot } = self;
        let mut turn = Resting { stream, unread: Bytes::new(), service };
        loop {
            let served = Box::pin(serve_requests(turn, &activity, &limits, &stage, &metrics)).await;
            let Some(mut resting) = served else { return };
            let counted = metrics.rest();
            // Part of a head was read together with the request before it.
            let head_begun = !resting.unread.is_empty();
            let limit = if head_begun { limits.header_timeout } else { limits.idle_timeout };
            let more = tokio::select! {
                more = timeout(limit, resting.stream.wait_readable()) => more.unwrap_or_else(|_| {
                    if head_begun {
                        metrics.closed(Closing::HeaderTimeout);
                    }
                    Ok(false)
                }),
                () = stage.closing() => Ok(false),
            };
            drop(counted);
            match more {
                Ok(true) => turn = resting,
                Ok(false) => {
                    // Best effort: tells the peer that nothing more follows.
                    let _ = timeout(CLOSE_TIMEOUT, resting.stream.shutdown()).await;
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

/// Serves requests until none arrives for a while; `None` if the connection has ended.
async fn serve_requests<T: Stream, S: HttpService>(
    turn: Resting<T, S>,
    activity: &Activity,
    limits: &Limits,
    stage: &Stage,
    metrics: &Metrics,
) -> Option<Resting<T, S>> {
    let Resting { stream, unread, service } = turn;
    let stream = Tracked { stream, unread, activity: activity.clone() };
    let service = TrackedService { service, activity: activity.clone() };
    // hyper's header timeout also runs while a connection is idle, so it is the idle timeout here; `Activity::deadline` is that of heads.
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let is_new = activity.requests() == 0;
    let mut close = pin!(async {
        stage.closing().await;
        if is_new && activity.requests() == 0 {
            sleep(FIRST_REQUEST_GRACE).await;
        }
    });
    let since = Instant::now();
    // Often enough that no deadline that begins after a check passes before the next one.
    let check_every = limits.rest_after.min(limits.header_timeout).min(limits.write_timeout);
    let mut check = pin!(sleep(check_every));
    let (mut closing, mut requests) = (false, activity.requests());
    loop {
        tokio::select! {
            result = &mut connection => {
                if activity.is_blamed() || result.as_ref().is_err_and(hyper::Error::is_parse) {
                    metrics.closed(Closing::ClientError);
                }
                if let Err(error) = result {
                    tracing::debug!(%error, "connection broke");
                }
                return None;
            }
            () = close.as_mut(), if !closing => {
                closing = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
            () = check.as_mut() => {
                let now = Instant::now();
                let deadline = match activity.deadline(limits, since, now) {
                    Ok(deadline) => deadline,
                    Err(Overdue::Refused(reason)) => {
                        metrics.refused(reason);
                        return None;
                    }
                    Err(Overdue::Closed(reason)) => {
                        metrics.closed(reason);
                        return None;
                    }
                };
                let before = std::mem::replace(&mut requests, activity.requests());
                if requests == before && requests > 0 && activity.is_idle() && !closing {
                    let http1::Parts { io, read_buf, service, .. } = connection.into_parts();
                    let Tracked { stream, unread: _, activity: _ } = io.into_inner();
                    // Copied, since even an empty slice would keep the whole buffer.
                    let unread = Bytes::copy_from_slice(&read_buf);
                    return Some(Resting { stream, unread, service: service.service });
                }
                let next = now + check_every;
                check.as_mut().reset(deadline.map_or(next, |at| at.min(next)));
            }
        }
    }
}
