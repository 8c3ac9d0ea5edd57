//! A receiver of notifications that acknowledges each, and remembers when it was first received.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jobwarden_serve::signature::ID_HEADER;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// How long nothing may be received while something is expected. A sink that has failed is attempted again within a minute.
const PATIENCE: Duration = Duration::from_mins(2);

/// The received notifications. Clones share the same state.
#[derive(Clone)]
pub(crate) struct Receiver {
    first: Arc<Mutex<HashMap<String, Instant>>>,
    /// How many different ones were received since [`Receiver::forget`].
    received: watch::Sender<usize>,
}

impl Receiver {
    /// Receives on `address`, whatever the path.
    pub(crate) async fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
        let receiver = Self { first: Arc::default(), received: watch::Sender::new(0) };
        let accepting = receiver.clone();
        tokio::spawn(async move {
            loop {
                // After a failed accept (too many open files) the sender tries again.
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(accepting.clone().serve(stream));
            }
        });
        Ok(receiver)
    }

    /// Forgets what was received.
    pub(crate) fn forget(&self) {
        self.first().clear();
        self.received.send_replace(0);
    }

    /// Waits until at least `count` different notifications were received.
    pub(crate) async fn wait_for(&self, count: usize) -> anyhow::Result<()> {
        let mut received = self.received.subscribe();
        while *received.borrow_and_update() < count {
            let changed = tokio::time::timeout(PATIENCE, received.changed()).await;
            changed.with_context(|| format!("{} of {count} received", *received.borrow()))??;
        }
        Ok(())
    }

    /// When the notification with this ID was received first.
    pub(crate) fn received_at(&self, id: &str) -> Option<Instant> {
        self.first().get(id).copied()
    }

    async fn serve(self, stream: TcpStream) {
        // A connection that cannot be set up so is slower, and works.
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| {
            let receiver = self.clone();
            async move { Ok::<_, Infallible>(receiver.take(request).await) }
        });
        // After a broken connection the sender tries again.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn take(&self, request: Request<Incoming>) -> Response<Empty<Bytes>> {
        let (head, body) = request.into_parts();
        let id = head.headers.get(ID_HEADER).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let mut response = Response::new(Empty::new());
        *response.status_mut() = match (id, body.collect().await) {
            (Some(id), Ok(_)) => {
                self.note(id);
                StatusCode::NO_CONTENT
            }
            _ => StatusCode::BAD_REQUEST,
        };
        response
    }

    fn note(&self, id: String) {
        let mut first = self.first();
        first.entry(id).or_insert_with(Instant::now);
        self.received.send_replace(first.len());
    }

    fn first(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        // Each change is a single insertion.
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
