//! Tracks whether a connection is idle, so that its buffers can be released.
//!
//! hyper keeps two buffers of 8 KiB for each connection, used or not. That is too much for a process with thousands of sidecars
//! connected for days, each of which sends a small request every few seconds.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http::{HeaderValue, Request, Response, header::CONNECTION};
use hyper::{body::Incoming, service::Service};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stage::Stage;

/// What happens on one connection; clones share it. All of it happens in one task, so only the order of each field's own changes
/// matters.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stage: Stage,
    requests: AtomicU64,
    unanswered: AtomicUsize,
    /// Something was read since the last response.
    unprocessed: AtomicBool,
    /// Something was written that may not have been sent.
    unsent: AtomicBool,
}

impl Activity {
    pub(super) fn new(stage: Stage) -> Self {
        Self(Arc::new(Inner {
            stage,
            requests: AtomicU64::new(0),
            unanswered: AtomicUsize::new(0),
            unprocessed: AtomicBool::new(false),
            unsent: AtomicBool::new(false),
        }))
    }

    /// Requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Whether every request is answered, every response sent, and no further request begun.
    pub(super) fn is_idle(&self) -> bool {
        let Inner { stage: _, requests: _, unanswered, unprocessed, unsent } = &*self.0;
        unanswered.load(Ordering::Relaxed) == 0
            && !unprocessed.load(Ordering::Relaxed)
            && !unsent.load(Ordering::Relaxed)
    }
}

/// A service whose requests are tracked, and which closes the connection after a response during the drain.
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
        if let Ok(response) = &mut response
            && self.activity.0.stage.is_draining()
        {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
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
            self.activity.0.unprocessed.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tracked<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.activity.0.unsent.store(true, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.0.unsent.store(true, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
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
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
