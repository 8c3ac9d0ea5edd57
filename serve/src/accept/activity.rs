//! Tracks what happens on a connection: whether it is idle, so that its buffers can be released; since when it waits for the client,
//! so that a slow one is closed; and whether it has proven itself, so that it is kept when slots run out.
//!
//! hyper keeps two buffers of 8 KiB for each connection, used or not. That is too much for a process with thousands of sidecars
//! connected for days, each of which sends a small request every few seconds.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http::{HeaderValue, Request, Response, StatusCode, header::CONNECTION};
use hyper::{body::Incoming, service::Service};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Notify, OwnedSemaphorePermit},
    time::Instant,
};

use super::{
    limits::{LEAST_SPEED, Limits},
    metrics::{Closing, Refusal},
    stage::Stage,
};

/// What happens on one connection; clones share it. All of it happens in one task, so only the order of each field's own changes
/// matters. Other tasks read it to find a connection that can be closed.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stage: Stage,
    accepted: Instant,
    requests: AtomicU64,
    unanswered: AtomicUsize,
    /// Something was read since the last response.
    unprocessed: AtomicBool,
    /// Something was written that may not have been sent.
    unsent: AtomicBool,
    /// Bytes written since `unsent_since`.
    written: AtomicU64,
    /// When `unprocessed` became true, since when the speed of writing is measured, and when the last response was complete:
    /// microseconds since `accepted`.
    unprocessed_since: AtomicU64,
    unsent_since: AtomicU64,
    answered_at: AtomicU64,
    /// There was a successful response.
    proven: AtomicBool,
    /// There was a response that says nothing about the client: 5xx.
    spared: AtomicBool,
    /// There was a response that blames the client: 4xx.
    blamed: AtomicBool,
    newcomer: Mutex<Option<OwnedSemaphorePermit>>,
    evicted: Notify,
}

/// Why a connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Before its first request.
    Refused(Refusal),
    /// After it.
    Closed(Closing),
}

impl Activity {
    pub(super) fn new(stage: Stage) -> Self {
        Self(Arc::new(Inner {
            stage,
            accepted: Instant::now(),
            requests: AtomicU64::new(0),
            unanswered: AtomicUsize::new(0),
            unprocessed: AtomicBool::new(false),
            unsent: AtomicBool::new(false),
            written: AtomicU64::new(0),
            unprocessed_since: AtomicU64::new(0),
            unsent_since: AtomicU64::new(0),
            answered_at: AtomicU64::new(0),
            proven: AtomicBool::new(false),
            spared: AtomicBool::new(false),
            blamed: AtomicBool::new(false),
            newcomer: Mutex::new(None),
            evicted: Notify::new(),
        }))
    }

    /// Requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Whether every request is answered, every response sent, and no further request begun.
    pub(super) fn is_idle(&self) -> bool {
        let Inner { unanswered, unprocessed, unsent, .. } = &*self.0;
        unanswered.load(Ordering::Relaxed) == 0
            && !unprocessed.load(Ordering::Relaxed)
            && !unsent.load(Ordering::Relaxed)
    }

    /// Whether a request is in flight: its head is complete, its response is not.
    pub(super) fn is_busy(&self) -> bool {
        self.0.unanswered.load(Ordering::Relaxed) > 0
    }

    /// A request begins, or its response ends.
    #[cfg(test)]
    pub(super) fn set_busy(&self, busy: bool) {
        self.0.unanswered.store(usize::from(busy), Ordering::Relaxed);
    }

    /// Whether there was a successful response.
    pub(super) fn is_proven(&self) -> bool {
        self.0.proven.load(Ordering::Relaxed)
    }

    /// Whether it counts as a failure of its source if it ends now.
    pub(super) fn has_failed(&self) -> bool {
        !self.is_proven() && !self.0.spared.load(Ordering::Relaxed)
    }

    /// Whether a response blamed the client.
    pub(super) fn is_blamed(&self) -> bool {
        self.0.blamed.load(Ordering::Relaxed)
    }

    /// When the last request ended or, without any, when the connection was accepted.
    pub(super) fn idle_since(&self) -> Instant {
        self.at(&self.0.answered_at)
    }

    /// Occupies a place among the newcomers of its source until the first successful response.
    pub(super) fn set_newcomer(&self, newcomer: Option<OwnedSemaphorePermit>) {
        *self.0.newcomer.lock().unwrap_or_else(PoisonError::into_inner) = newcomer;
    }

    /// Ends being a newcomer.
    pub(super) fn take_newcomer(&self) -> Option<OwnedSemaphorePermit> {
        self.0.newcomer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Closes the connection: another one needs its slot.
    pub(super) fn evict(&self) {
        self.0.evicted.notify_one();
    }

    /// Returns once the connection has to be closed for another one.
    pub(super) async fn evicted(&self) {
        self.0.evicted.notified().await;
    }

    /// When the connection has to be looked at again because it waits for the client, if it does. `serving_since` is the end of the handshake.
    ///
    /// # Errors
    ///
    /// It has waited too long, for this reason.
    pub(super) fn deadline(
        &self,
        limits: &Limits,
        serving_since: Instant,
        now: Instant,
    ) -> Result<Option<Instant>, Overdue> {
        let Inner { requests, unanswered, unprocessed, unsent, .. } = &*self.0;
        let (until, overdue) = if unsent.load(Ordering::Relaxed) {
            let until = self.at(&self.0.unsent_since) + limits.write_timeout;
            if until <= now && self.0.written.load(Ordering::Relaxed) >= least_bytes(limits.write_timeout) {
                self.restart_window();
                return Ok(Some(now + limits.write_timeout));
            }
            (until, Overdue::Closed(Closing::WriteTimeout))
        } else if unanswered.load(Ordering::Relaxed) > 0 {
            return Ok(None);
        } else if requests.load(Ordering::Relaxed) == 0 {
            (serving_since + limits.header_timeout, Overdue::Refused(Refusal::HeaderTimeout))
        } else if unprocessed.load(Ordering::Relaxed) {
            let until = self.at(&self.0.unprocessed_since) + limits.header_timeout;
            (until, Overdue::Closed(Closing::HeaderTimeout))
        } else {
            return Ok(None);
        };
        if until <= now { Err(overdue) } else { Ok(Some(until)) }
    }

    fn at(&self, micros: &AtomicU64) -> Instant {
        self.0.accepted + Duration::from_micros(micros.load(Ordering::Relaxed))
    }

    /// Sets one of the times to the present.
    fn mark(&self, micros: &AtomicU64) {
        let now = self.0.accepted.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
        micros.store(now, Ordering::Relaxed);
    }

    fn answered(&self, status: StatusCode) {
        if status.is_server_error() {
            self.0.spared.store(true, Ordering::Relaxed);
        } else if status.is_client_error() {
            self.0.blamed.store(true, Ordering::Relaxed);
        } else if !self.0.proven.swap(true, Ordering::Relaxed) {
            drop(self.take_newcomer());
        }
    }

    fn read_something(&self) {
        if !self.0.unprocessed.swap(true, Ordering::Relaxed) {
            self.mark(&self.0.unprocessed_since);
        }
    }

    fn writes(&self) {
        if !self.0.unsent.swap(true, Ordering::Relaxed) {
            self.restart_window();
        }
    }

    /// Measures the speed of writing from now on. What fits into the kernel's buffers at once says nothing about the client.
    fn restart_window(&self) {
        self.0.written.store(0, Ordering::Relaxed);
        self.mark(&self.0.unsent_since);
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &result {
            self.0.written.fetch_add(u64::try_from(*bytes).unwrap_or(0), Ordering::Relaxed);
        }
        result
    }
}

/// How many bytes a client has to take in this time.
fn least_bytes(window: Duration) -> u64 {
    LEAST_SPEED.saturating_mul(window.as_millis().try_into().unwrap_or(u64::MAX)) / 1000
}

/// A service whose requests are tracked, and which closes the connection after a response during the drain, and after one that blames
/// the client: what it sent is not worth a slot.
pub(super) struct TrackedService<S> {
    pub(super) service: S,
    pub(super) activity: Activity,
}

impl<S, B> Service<Request<Incoming>> for TrackedService<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TrackedResponse<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Inner { requests, unanswered, .. } = &*self.activity.0;
        requests.fetch_add(1, Ordering::Relaxed);
        unanswered.fetch_add(1, Ordering::Relaxed);
        TrackedResponse { response: Box::pin(self.service.call(request)), activity: self.activity.clone() }
    }
}

/// The future of a response.
pub(super) struct TrackedResponse<F> {
    response: Pin<Box<F>>,
    activity: Activity,
}

impl<F, B, E> Future for TrackedResponse<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = ready!(self.response.as_mut().poll(context));
        if let Ok(response) = &mut response {
            self.activity.answered(response.status());
            if response.status().is_client_error() || self.activity.0.stage.is_draining() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        Poll::Ready(response)
    }
}

/// The response is complete, so what was read was its request.
impl<F> Drop for TrackedResponse<F> {
    fn drop(&mut self) {
        let Inner { unanswered, unprocessed, .. } = &*self.activity.0;
        unanswered.fetch_sub(1, Ordering::Relaxed);
        unprocessed.store(false, Ordering::Relaxed);
        self.activity.mark(&self.activity.0.answered_at);
    }
}

/// A stream whose reads and writes are tracked.
pub(super) struct Tracked<T> {
    pub(super) stream: T,
    /// Bytes that were read before and not parsed.
    pub(super) unread: Bytes,
    pub(super) activity: Activity,
}

impl<T: AsyncRead + Unpin> AsyncRead for Tracked<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.unread.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        } else {
            let fits = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread[..fits]);
            self.unread.advance(fits);
        }
        if buffer.filled().len() > before {
            self.activity.read_something();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tracked<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.activity.writes();
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.writes();
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.activity.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.activity.0.unsent.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A client that reads nothing holds up the end of a TLS session as well. Nothing follows that would count as sent.
        self.activity.writes();
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
