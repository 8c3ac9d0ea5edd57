//! A receiver on the loopback.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

/// A response: a status and a header. `None` for no response.
pub(super) type Answer = Option<(u16, &'static str, &'static str)>;

/// A request that was received.
pub(super) struct Received {
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Bytes,
}

/// A receiver that gives the same answer to every request.
pub(super) struct Receiver {
    pub(super) addr: SocketAddr,
    received: mpsc::UnboundedReceiver<Received>,
}

impl Receiver {
    /// Answers with this status.
    pub(super) async fn start(status: u16) -> Self {
        Self::answering(Some((status, "x-none", "")), None).await
    }

    pub(super) async fn answering(answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
        let addr = listener.local_addr().expect("it is bound");
        let (sender, received) = mpsc::unbounded_channel();
        // A request arrives while the test waits for its response, so the lock is free.
        let sender = Arc::new(Mutex::new(sender));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, tls) = (Arc::clone(&sender), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, answer, sender).await,
                        Some(tls) => {
                            // A client that the handshake refuses is what some tests want.
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, answer, sender).await;
                            }
                        }
                    }
                });
            }
        });
        Self { addr, received }
    }

    /// The next request.
    pub(super) async fn next(&mut self) -> Received {
        self.received.recv().await.expect("the receiver is running")
    }

    /// Whether no other request has arrived.
    pub(super) fn is_empty(&mut self) -> bool {
        self.received.try_recv().is_err()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: Answer,
    sender: Arc<Mutex<mpsc::UnboundedSender<Received>>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let sender = Arc::clone(&sender);
        async move {
            let (head, body) = request.into_parts();
            let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
            let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            let body = body.collect().await?.to_bytes();
            sender.lock().expect("not poisoned").send(Received { headers, body }).expect("the test listens");
            let Some((status, name, value)) = answer else { return std::future::pending().await };
            let response = Response::builder().status(StatusCode::from_u16(status).expect("a status"));
            Ok::<_, hyper::Error>(response.header(name, value).body(Full::<Bytes>::default()).expect("a response"))
        }
    });
    // A client that gives up ends its connection.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}
