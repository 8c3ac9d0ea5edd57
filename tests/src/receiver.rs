//! A receiver of notifications that plays the orchestrator: it checks the signature, remembers what came and how often,
//! and can be told to be down.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
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

/// A notification as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// When it came for the first time.
    pub at: Instant,
    /// What it says.
    pub event: CloudEvent,
    /// How often it was delivered and acknowledged.
    pub deliveries: u32,
}

/// How the receiver answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 204: acknowledged.
    Acknowledge,
    /// 503 to everything.
    Unavailable,
    /// Takes the request and never answers.
    Hang,
}

/// A running receiver; it stops when this is dropped.
pub struct Receiver {
    url: String,
    secret: String,
    shared: Arc<Shared>,
    _running: DropGuard,
}

struct Shared {
    key: Vec<u8>,
    answer: watch::Sender<Answer>,
    inbox: watch::Sender<Inbox>,
    refused: Mutex<Vec<String>>,
}

/// What came, in the order of the first acknowledged delivery.
#[derive(Clone, Debug, Default)]
struct Inbox {
    received: Vec<Received>,
    /// Deliveries that were not acknowledged, by the event's ID.
    turned_away: BTreeMap<String, u32>,
}

impl Receiver {
    /// Serves on `listener`, with a signing secret of its own.
    pub fn start(listener: TcpListener) -> anyhow::Result<Self> {
        let key: Vec<u8> = (0..24).map(|_| fastrand::u8(..)).collect();
        let address = listener.local_addr().context("asking for the receiver's address")?;
        listener.set_nonblocking(true).context("preparing the receiver's socket")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("preparing the receiver's socket")?;
        let secret = format!("whsec_{}", STANDARD.encode(&key));
        let shared = Arc::new(Shared {
            key,
            answer: watch::Sender::new(Answer::Acknowledge),
            inbox: watch::Sender::default(),
            refused: Mutex::default(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve(listener, Arc::clone(&shared), stop.clone())));
        Ok(Self { url: format!("http://{address}/notifications"), secret, shared, _running: stop.drop_guard() })
    }

    /// Where notifications are to be sent.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The secret they are to be signed with, in the form of Standard Webhooks.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Changes how requests are answered from now on.
    pub fn answer(&self, answer: Answer) {
        self.shared.answer.send_replace(answer);
    }

    /// What was acknowledged so far, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.shared.inbox.borrow().received.clone()
    }

    /// The notifications about one Job, by its name.
    pub fn about(&self, namespace: &str, job: &str) -> Vec<Received> {
        self.received().into_iter().filter(|it| is_about(it, namespace, job)).collect()
    }

    /// Requests that were refused for their form or signature, each with the reason.
    pub fn refused(&self) -> Vec<String> {
        self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a notification about a Job that satisfies `wanted`.
    pub async fn wait_for(
        &self,
        namespace: &str,
        job: &str,
        patience: Duration,
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
        if let Ok(received) = tokio::time::timeout(patience, waiting).await {
            return received;
        }
        let seen: Vec<_> = self.about(namespace, job).iter().map(|it| describe(&it.event)).collect();
        bail!("no such notification about {namespace}/{job} within {patience:?}; there were {seen:?}")
    }

    /// Waits until a delivery has been turned away, because the receiver was told not to acknowledge.
    pub async fn wait_until_turned_away(&self, id: impl Fn(&str) -> bool, patience: Duration) -> anyhow::Result<()> {
        let mut inbox = self.shared.inbox.subscribe();
        let waiting = inbox.wait_for(|inbox| inbox.turned_away.keys().any(|seen| id(seen)));
        tokio::time::timeout(patience, waiting)
            .await
            .context("nothing was delivered")?
            .context("the receiver stopped")?;
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
        // A connection that breaks is the sender's to repeat.
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            let _ = connection.await;
        }));
    }
}

impl Shared {
    async fn take(&self, request: Request<Incoming>) -> Response<Empty<Bytes>> {
        let status = match self.read(request).await {
            Ok(event) => self.file(event).await,
            Err(error) => {
                self.refused.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{error:#}"));
                StatusCode::BAD_REQUEST
            }
        };
        let mut response = Response::new(Empty::new());
        *response.status_mut() = status;
        response
    }

    async fn read(&self, request: Request<Incoming>) -> anyhow::Result<CloudEvent> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.context("reading the body")?.to_bytes();
        self.verify(&head.headers, &body)?;
        let event: CloudEvent = serde_json::from_slice(&body).context("parsing the CloudEvent")?;
        ensure!(header(&head.headers, "webhook-id")? == event.id, "webhook-id is not the event's id");
        Ok(event)
    }

    /// As <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md> says.
    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> anyhow::Result<()> {
        let (id, timestamp) = (header(headers, "webhook-id")?, header(headers, "webhook-timestamp")?);
        let signature = header(headers, "webhook-signature")?.strip_prefix("v1,").context("no v1 signature")?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).context("an HMAC takes a key of any length")?;
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        let signature = STANDARD.decode(signature).context("decoding the signature")?;
        mac.verify_slice(&signature).context("the signature does not fit")
    }

    async fn file(&self, event: CloudEvent) -> StatusCode {
        let answer = *self.answer.borrow();
        if answer != Answer::Acknowledge {
            self.inbox.send_modify(|inbox| *inbox.turned_away.entry(event.id).or_default() += 1);
            if answer == Answer::Hang {
                std::future::pending::<()>().await;
            }
            return StatusCode::SERVICE_UNAVAILABLE;
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
    value.to_str().with_context(|| format!("header {name} is no text"))
}
