//! What lapin runs on: tokio, with a stream of our own, and without its log.
//!
//! lapin logs messages that the broker returns with their bodies, and frames. Bodies must not be logged, and all errors reach us as values.

use std::{
    cell::RefCell,
    io::{self, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use async_rs::{
    Tokio,
    traits::{Executor, Reactor, RuntimeKit},
    util::Task,
};
use futures::{AsyncRead, AsyncWrite, Stream};
use tokio_util::compat::Compat;
use tracing::{
    instrument::WithSubscriber as _,
    subscriber::{DefaultGuard, NoSubscriber},
};

use crate::deliver::broker::BrokerStream;

thread_local! {
    /// Keeps the log of the current thread off until the thread ends.
    static QUIET: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
}

/// Turns the log off for the rest of the current thread. For the thread that lapin starts for each connection.
pub(super) fn silence_thread() {
    QUIET.with_borrow_mut(|guard| {
        guard.get_or_insert_with(|| tracing::subscriber::set_default(NoSubscriber::default()));
    });
}

/// A future whose log is off.
pub(super) fn silent<F: Future>(future: F) -> impl Future<Output = F::Output> {
    future.with_subscriber(NoSubscriber::default())
}

/// tokio as lapin wants to see it.
#[derive(Clone, Debug)]
pub(super) struct Kit(Tokio);

impl Kit {
    /// The runtime of the caller.
    pub(super) fn current() -> Self {
        Self(Tokio::current())
    }
}

impl RuntimeKit for Kit {}

impl Executor for Kit {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, future: F) -> T {
        self.0.block_on(future)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(&self, future: F) -> Task<Self::Task<T>> {
        self.0.spawn(future.with_subscriber(NoSubscriber::default()))
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, work: F) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(work)
    }
}

impl Reactor for Kit {
    type TcpStream = Compat<BrokerStream>;
    type Sleep = <Tokio as Reactor>::Sleep;

    // The connection is opened before lapin gets it, so lapin opens and registers no socket.
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Self::TcpStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        _address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
