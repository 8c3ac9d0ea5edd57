//! The stream below the protocol, which can be cut from outside.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    runtime::Handle,
};
use tokio_rustls::client::TlsStream;

/// How long a connection that is no longer used may take for an orderly end. After it, whatever of the protocol library still waits
/// for a peer that does not answer, ends with an error, and the socket is closed.
const LINGER: Duration = Duration::from_secs(2);

/// A TCP or TLS connection to a broker.
pub(in crate::deliver) struct BrokerStream {
    transport: Transport,
    cut: Arc<Cut>,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Whether the stream was cut, and the task that waits for bytes.
#[derive(Default)]
struct Cut {
    done: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Cut {
    fn make(&self) {
        self.done.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    /// An error once the stream was cut; else the waker is woken then.
    fn check(&self, waker: &AtomicWaker, context: &Context<'_>) -> io::Result<()> {
        waker.register(context.waker());
        if self.done.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection is no longer used"));
        }
        Ok(())
    }
}

/// Cuts the stream a moment after it is dropped.
pub(in crate::deliver) struct Disconnector(Arc<Cut>);

impl Drop for Disconnector {
    fn drop(&mut self) {
        let cut = Arc::clone(&self.0);
        match Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    tokio::time::sleep(LINGER).await;
                    cut.make();
                });
            }
            Err(_) => cut.make(),
        }
    }
}

impl BrokerStream {
    pub(super) fn plain(stream: TcpStream) -> (Self, Disconnector) {
        Self::new(Transport::Plain(stream))
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>) -> (Self, Disconnector) {
        Self::new(Transport::Tls(Box::new(stream)))
    }

    fn new(transport: Transport) -> (Self, Disconnector) {
        let cut = Arc::new(Cut::default());
        let disconnector = Disconnector(Arc::clone(&cut));
        (Self { transport, cut }, disconnector)
    }
}

impl fmt::Debug for BrokerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerStream").finish_non_exhaustive()
    }
}

impl AsyncRead for BrokerStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.cut.check(&self.cut.reader, context)?;
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buf),
        }
    }
}

impl AsyncWrite for BrokerStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.cut.check(&self.cut.writer, context)?;
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check(&self.cut.writer, context)?;
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check(&self.cut.writer, context)?;
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn a_reader_of_a_silent_peer_ends_when_the_connection_is_dropped() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (mut stream, disconnector) = BrokerStream::plain(TcpStream::connect(address).await.expect("connected"));
        let (_silent, _) = listener.accept().await.expect("accepted");
        let reader = tokio::spawn(async move { stream.read_u8().await });
        tokio::task::yield_now().await;
        drop(disconnector);
        let error = reader.await.expect("no panic").expect_err("no byte was sent");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }
}
