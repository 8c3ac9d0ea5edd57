//! What tells when a connection has nothing to do, so that what serves it need not be kept.
//!
//! hyper keeps two buffers of 8 KiB for each connection, whether or not anything passes. A process that thousands of sidecars are
//! connected to for days, each of which says a word every few seconds, cannot afford that.

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
use http::{Request, Response};
use hyper::{body::Incoming, service::Service};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What happens on one connection; clones are of the same one. All of it happens in one task, so the order of each figure's own
/// changes is all that matters.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requests: AtomicU64,
    unanswered: AtomicUsize,
    /// Something was read that no answer has followed.
    heard: AtomicBool,
    /// Something was written that may not have been sent.
    unsent: AtomicBool,
}

impl Activity {
    /// How many requests there were.
    pub(super) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Whether every request is answered, every answer sent, and no other begun.
    pub(super) fn is_at_rest(&self) -> bool {
        let Inner { requests: _, unanswered, heard, unsent } = &*self.0;
        unanswered.load(Ordering::Relaxed) == 0 && !heard.load(Ordering::Relaxed) && !unsent.load(Ordering::Relaxed)
    }
}

/// A service whose requests are noted.
pub(super) struct Noted<S> {
    pub(super) service: S,
    pub(super) activity: Activity,
}

impl<S, B> Service<Request<Incoming>> for Noted<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Inner { requests, unanswered, .. } = &*self.activity.0;
        requests.fetch_add(1, Ordering::Relaxed);
        unanswered.fetch_add(1, Ordering::Relaxed);
        Answering { answer: Box::pin(self.service.call(request)), activity: self.activity.clone() }
    }
}

/// An answer in the making.
pub(super) struct Answering<F> {
    answer: Pin<Box<F>>,
    activity: Activity,
}

impl<F: Future> Future for Answering<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.answer.as_mut().poll(context)
    }
}

/// The answer is given: what was read was its request.
impl<F> Drop for Answering<F> {
    fn drop(&mut self) {
        let Inner { unanswered, heard, .. } = &*self.activity.0;
        unanswered.fetch_sub(1, Ordering::Relaxed);
        heard.store(false, Ordering::Relaxed);
    }
}

/// A stream whose traffic is noted.
pub(super) struct Watched<T> {
    pub(super) stream: T,
    /// What had been read before, and not been looked at.
    pub(super) first: Bytes,
    pub(super) activity: Activity,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.first.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        } else {
            let fits = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first[..fits]);
            self.first.advance(fits);
        }
        if buffer.filled().len() > before {
            self.activity.0.heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
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
