//! A receiver of notifications in the role of the orchestrator. It verifies signatures, remembers notifications and counts
//! their deliveries, and can simulate an outage.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jobwarden_common::notification::CloudEvent;
use sha2::Sha256;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A received notification.
#[derive(Clone, Debug)]
pub struct Received {
    /// When it was first received.
    pub at: Instant,
    /// Its content.
    pub event: CloudEvent,
    /// The number of acknowledged deliveries.
    pub deliveries: u32,
}

/// How the receiver responds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 204: acknowledged.
    Acknowledge,
    /// 503 to everything.
    Unavailable,
    /// 500 to everything.
    InternalError,
    /// Accepts the request and never responds.
    Hang,
}

/// A running receiver. It stops when this is dropped.
pub struct Receiver {
    address: SocketAddr,
    url: String,
    secret: String,
    shared: Arc<Shared>,
    /// Listens and has connections until this is dropped.
    running: Mutex<Option<DropGuard>>,
}

struct Shared {
    key: Vec<u8>,
    answer: watch::Sender<Answer>,
    inbox: watch::Sender<Inbox>,
    rejected: Mutex<Vec<String>>,
}

/// The notifications, in the order of their first acknowledged delivery.
#[derive(Clone, Debug, Default)]
struct Inbox {
    received: Vec<Received>,
    /// The number of deliveries that were not acknowledged, by the event's ID.
    failed: BTreeMap<String, u32>,
    /// The first body of each event that was read, acknowledged or not, by the event's ID.
    bodies: BTreeMap<String, Bytes>,
    /// The IDs that came with another body as well.
    ambiguous: BTreeSet<String>,
}

impl Receiver {
    /// Serves on `listener`, with a random signing secret.
    pub fn start(listener: TcpListener) -> anyhow::Result<Self> {
        Self::with_key(listener, (0..24).map(|_| fastrand::u8(..)).collect())
    }

    /// Serves on `listener`, with the secret of this one.
    pub fn beside(&self, listener: TcpListener) -> anyhow::Result<Self> {
        Self::with_key(listener, self.shared.key.clone())
    }

    fn with_key(listener: TcpListener, key: Vec<u8>) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("reading the listener's address")?;
        let secret = format!("whsec_{}", STANDARD.encode(&key));
        let shared = Arc::new(Shared {
            key,
            answer: watch::Sender::new(Answer::Acknowledge),
            inbox: watch::Sender::default(),
            rejected: Mutex::default(),
        });
        let url = format!("http://{address}/notifications");
        let receiver = Self { address, url, secret, shared, running: Mutex::default() };
        receiver.go_up(listener)?;
        Ok(receiver)
    }

    /// Stops listening and breaks all connections: from now on the receiver refuses connections.
    pub fn go_down(&self) {
        self.running().take();
    }

    /// Serves again, on another listener at [`Receiver::address`].
    pub fn go_up(&self, listener: TcpListener) -> anyhow::Result<()> {
        listener.set_nonblocking(true).context("preparing the receiver's socket")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("preparing the receiver's socket")?;
        let stop = CancellationToken::new();
        let serving = serve(listener, Arc::clone(&self.shared), stop.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
        self.running().replace(stop.drop_guard());
        Ok(())
    }

    /// Whether it serves.
    pub fn is_up(&self) -> bool {
        self.running().is_some()
    }

    fn running(&self) -> MutexGuard<'_, Option<DropGuard>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to send notifications to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The secret to sign notifications with, in the form of Standard Webhooks.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Sets the response to all following requests.
    pub fn answer(&self, answer: Answer) {
        self.shared.answer.send_replace(answer);
    }

    /// The acknowledged notifications, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.shared.inbox.borrow().received.clone()
    }

    /// What `pick` takes of each acknowledged notification, oldest first.
    pub fn picked<T>(&self, pick: impl Fn(&Received) -> Option<T>) -> Vec<T> {
        self.shared.inbox.borrow().received.iter().filter_map(pick).collect()
    }

    /// The acknowledged notifications about one Job.
    pub fn about(&self, namespace: &str, job: &str) -> Vec<Received> {
        self.received().into_iter().filter(|it| is_about(it, namespace, job)).collect()
    }

    /// The reasons of all requests that were rejected for their form or signature.
    pub fn rejected(&self) -> Vec<String> {
        self.shared.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The IDs that came with more than one body, acknowledged or not.
    pub fn ambiguous(&self) -> Vec<String> {
        self.shared.inbox.borrow().ambiguous.iter().cloned().collect()
    }

    /// How many deliveries were read and not acknowledged.
    pub fn unacknowledged(&self) -> u32 {
        self.shared.inbox.borrow().failed.values().sum()
    }

    /// Waits for a notification about the Job that satisfies `wanted`.
    pub async fn wait_for(
        &self,
        namespace: &str,
        job: &str,
        timeout: Duration,
        wanted: impl Fn(&CloudEvent) -> bool,
    ) -> anyhow::Result<Received> {
        let mut inbox = self.shared.inbox.subscribe();
        let found =
            |inbox: &Inbox| inbox.received.iter().find(|it| is_about(it, namespace, job) && wanted(&it.event)).cloned();
        let waiting = async {
            loop {
                if let Some(received) = found(&inbox.borrow_and_update()) {
                    return Ok(received);
                }
                inbox.changed().await.context("the receiver has stopped")?;
            }
        };
        if let Ok(received) = tokio::time::timeout(timeout, waiting).await {
            return received;
        }
        let seen: Vec<_> = self.about(namespace, job).iter().map(|it| describe(&it.event)).collect();
        bail!("no matching notification about Job {namespace}/{job} after {timeout:?}; received: {seen:?}")
    }

    /// Waits until a delivery was not acknowledged because of the [`Answer`].
    pub async fn wait_until_delivery_failed(&self, id: impl Fn(&str) -> bool, timeout: Duration) -> anyhow::Result<()> {
        let mut inbox = self.shared.inbox.subscribe();
        let waiting = inbox.wait_for(|inbox| inbox.failed.keys().any(|seen| id(seen)));
        tokio::time::timeout(timeout, waiting)
            .await
            .context("no delivery in time")?
            .context("the receiver has stopped")?;
        Ok(())
    }
}

fn is_about(received: &Received, namespace: &str, job: &str) -> bool {
    received.event.data.namespace == namespace && received.event.data.job_name == job
}

fn describe(event: &CloudEvent) -> String {
    format!("{} {}", event.event_type, event.data.reason)
}

async fn serve(listener: tokio::net::TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(shared.take(request).await) }
            }),
        );
        // After a broken connection the sender retries.
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            let _ = connection.await;
        }));
    }
}

impl Shared {
    async fn take(&self, request: Request<Incoming>) -> Response<Empty<Bytes>> {
        let status = match self.read(request).await {
            Ok((event, body)) => self.store(event, body).await,
            Err(error) => {
                self.rejected.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{error:#}"));
                StatusCode::BAD_REQUEST
            }
        };
        let mut response = Response::new(Empty::new());
        *response.status_mut() = status;
        response
    }

    async fn read(&self, request: Request<Incoming>) -> anyhow::Result<(CloudEvent, Bytes)> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.context("reading the body")?.to_bytes();
        self.verify(&head.headers, &body)?;
        let event: CloudEvent = serde_json::from_slice(&body).context("parsing the CloudEvent")?;
        ensure!(header(&head.headers, "webhook-id")? == event.id, "header webhook-id differs from the event's id");
        Ok((event, body))
    }

    /// Verifies the signature by <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> anyhow::Result<()> {
        let (id, timestamp) = (header(headers, "webhook-id")?, header(headers, "webhook-timestamp")?);
        let signature = header(headers, "webhook-signature")?
            .strip_prefix("v1,")
            .context("header webhook-signature has no v1 signature")?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).context("an HMAC takes a key of any length")?;
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        let signature = STANDARD.decode(signature).context("decoding the signature")?;
        mac.verify_slice(&signature).context("the signature is invalid")
    }

    async fn store(&self, event: CloudEvent, body: Bytes) -> StatusCode {
        self.inbox.send_modify(|inbox| {
            if *inbox.bodies.entry(event.id.clone()).or_insert_with(|| body.clone()) != body {
                inbox.ambiguous.insert(event.id.clone());
            }
        });
        let answer = *self.answer.borrow();
        if answer != Answer::Acknowledge {
            self.inbox.send_modify(|inbox| *inbox.failed.entry(event.id).or_default() += 1);
            if answer == Answer::Hang {
                std::future::pending::<()>().await;
            }
            return match answer {
                Answer::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
        }
        self.inbox.send_modify(|inbox| match inbox.received.iter_mut().find(|it| it.event.id == event.id) {
            Some(known) => known.deliveries += 1,
            None => inbox.received.push(Received { at: Instant::now(), event, deliveries: 1 }),
        });
        StatusCode::NO_CONTENT
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> anyhow::Result<&'a str> {
    let value = headers.get(name).with_context(|| format!("header {name} is missing"))?;
    value.to_str().with_context(|| format!("header {name} is not text"))
}
