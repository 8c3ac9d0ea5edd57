use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jobwarden_common::notification::CloudEvent;
use jobwarden_serve::tls::{ServerIdentity, install_crypto_provider};
use kube::Api;
use rstest::rstest;
use serde_json::json;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    deliver::{Config, Deliverer, Format, Secrets, SinkConfig},
    fake_api::{Failure, FakeApi},
    outbox::{JobOutcomeStatus, Outbox, object::tests::mk_outcome},
};

const OUTCOME: &str = "/apis/jobwarden.io/v1alpha1/namespaces/jobwarden/joboutcomes/1111.final";

/// A received request.
struct Received {
    headers: BTreeMap<String, String>,
    body: Bytes,
}

/// A receiver on loopback that responds with the given codes, then with 200. For `None` it does not respond.
struct Receiver {
    addr: SocketAddr,
    received: mpsc::UnboundedReceiver<Received>,
}

impl Receiver {
    async fn start(answers: Vec<Option<u16>>) -> Self {
        Self::start_with(answers, None).await
    }

    async fn start_with(answers: Vec<Option<u16>>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
        let addr = listener.local_addr().expect("it is bound");
        let (sender, received) = mpsc::unbounded_channel();
        let answers = Arc::new(std::sync::Mutex::new(answers.into_iter()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, answers) = (sender.clone(), Arc::clone(&answers));
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answers.lock().expect("not poisoned").next().unwrap_or(Some(200));
                    let sender = sender.clone();
                    async move { answer_with(answer, request, sender).await }
                });
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        Self { addr, received }
    }

    fn sink(&self, name: &str) -> SinkConfig {
        SinkConfig {
            name: name.to_owned(),
            url: format!("http://{}/hook?token=s3cret", self.addr),
            secret_file: None,
            ca_file: None,
            format: Format::CloudEvents,
            timeout: Duration::from_secs(10),
            expire_after: Duration::from_hours(24),
        }
    }

    async fn next(&mut self) -> Received {
        self.received.recv().await.expect("the receiver is running")
    }
}

async fn answer_with(
    answer: Option<u16>,
    request: Request<Incoming>,
    sender: mpsc::UnboundedSender<Received>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = body.collect().await?.to_bytes();
    sender.send(Received { headers, body }).expect("the test listens");
    let Some(code) = answer else { return std::future::pending().await };
    let response = Response::builder().status(StatusCode::from_u16(code).expect("a status"));
    Ok(response.header("location", "http://127.0.0.1:1/").body(Full::default()).expect("a response"))
}

/// A recorded outcome in an outbox, and its deliverer.
struct Delivery {
    api: FakeApi,
    outbox: Outbox,
    metrics: Metrics,
    deliverer: Deliverer,
}

fn mk_delivery(sinks: Vec<SinkConfig>) -> Delivery {
    install_crypto_provider();
    let (api, outbox, metrics) = (FakeApi::default(), Outbox::new(), Metrics::default());
    let mut outcome = mk_outcome();
    // Recorded just now: the delivery of an old outcome would have expired.
    outcome.spec.created_at = Timestamp::now();
    let untried = sinks.iter().map(|sink| SinkStatus::untried(&sink.name)).collect();
    outcome.status = Some(JobOutcomeStatus::of(untried));
    api.put(OUTCOME, serde_json::to_value(&outcome).expect("serializes"));
    let stored = serde_json::from_value(api.get(OUTCOME).expect("just put")).expect("an outcome");
    outbox.note(stored);
    let config = Config { sinks, ..Config::default() };
    let deliverer = Deliverer::new(&config, api.client(), "jobwarden", outbox.clone(), metrics.clone());
    Delivery { deliverer: deliverer.expect("valid sinks"), api, outbox, metrics }
}

impl Delivery {
    /// Delivers until the first sink has the state `until`.
    async fn until(&self, until: SinkState) -> SinkStatus {
        let mut changes = self.outbox.subscribe();
        let name = mk_outcome().outcome_name();
        let reached = async {
            loop {
                let entry = self.outbox.get(&name).expect("the outcome exists");
                let sink = entry.sinks.expect("the status is initialized").remove(0);
                if sink.state == until {
                    return sink;
                }
                changes.changed().await.expect("the outbox exists");
            }
        };
        tokio::select! {
            sink = reached => sink,
            () = self.deliverer.run() => panic!("the deliverer never returns"),
        }
    }

    /// The status writer of the sink `ort`.
    fn statuses(&self) -> StatusWriter {
        StatusWriter {
            outcomes: Api::namespaced(self.api.client(), "jobwarden"),
            outbox: self.outbox.clone(),
            sinks: vec!["ort".to_owned()],
        }
    }

    fn deliveries(&self, sink: &str, result: &'static str) -> u64 {
        self.metrics.deliveries.get_or_create(&DeliveryLabels { sink: sink.to_owned(), result }).get()
    }
}

#[tokio::test]
async fn an_outcome_is_posted_as_a_signed_cloud_event_and_acknowledged_by_2xx() {
    let mut receiver = Receiver::start(vec![Some(204)]).await;
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "whsec_AAAA\n").expect("writable");
    let delivery =
        mk_delivery(vec![SinkConfig { secret_file: Some(secret.path().to_owned()), ..receiver.sink("ort") }]);
    let status = delivery.until(SinkState::Acknowledged).await;
    assert_eq!((status.attempts, &status.last_error), (1, &None));
    assert!(status.acknowledged_at.is_some());

    let Received { headers, body } = receiver.next().await;
    assert_eq!(headers["content-type"], "application/cloudevents+json");
    assert_eq!(headers["webhook-id"], "1111.final");
    let at = headers["webhook-timestamp"].parse().expect("seconds");
    let at = Timestamp::from_second(at).expect("in range");
    let expected = Secrets::parse("whsec_AAAA").expect("valid").sign("1111.final", at, &body);
    assert_eq!(headers["webhook-signature"], expected);
    let event: CloudEvent = serde_json::from_slice(&body).expect("a CloudEvent");
    assert_eq!((event.id.as_str(), event.data), ("1111.final", mk_outcome().spec.data));
    assert_eq!(delivery.api.get(OUTCOME).expect("kept")["status"]["summary"], "ort acknowledged");
    assert_eq!(delivery.deliveries("ort", "acknowledged"), 1);
}

#[tokio::test]
async fn a_failed_delivery_is_retried_with_the_same_id() {
    let mut receiver = Receiver::start(vec![Some(503)]).await;
    let delivery = mk_delivery(vec![receiver.sink("ort")]);
    let status = delivery.until(SinkState::Acknowledged).await;
    assert_eq!((status.attempts, status.last_error), (2, None));
    let (first, second) = (receiver.next().await, receiver.next().await);
    assert_eq!(first.headers["webhook-id"], second.headers["webhook-id"]);
    assert_eq!(first.body, second.body);
    assert!(!first.headers.contains_key("webhook-signature"), "no secret is configured");
    assert_eq!((delivery.deliveries("ort", "failed"), delivery.deliveries("ort", "acknowledged")), (1, 1));
}

#[tokio::test]
async fn a_410_response_refuses_the_notification() {
    let mut receiver = Receiver::start(vec![Some(410)]).await;
    let delivery = mk_delivery(vec![receiver.sink("ort")]);
    let status = delivery.until(SinkState::Refused).await;
    assert_eq!(status.attempts, 1);
    receiver.next().await;
    assert!(receiver.received.try_recv().is_err(), "the delivery is not retried");
}

/// An expired delivery is dead and shows the error of its last attempt, without secrets.
#[rstest]
#[case::server_error(Some(500), "the receiver responded with 500 Internal Server Error")]
#[case::unauthorized(Some(401), "the receiver responded with 401 Unauthorized")]
#[case::redirect(
    Some(307),
    "the receiver responded with 307 Temporary Redirect; redirects are not followed, configure the final url"
)]
#[case::no_response(None, "cannot send the request: error sending request: operation timed out")]
#[tokio::test]
async fn an_expired_delivery_shows_its_last_error(#[case] answer: Option<u16>, #[case] error: &str) {
    let receiver = Receiver::start(vec![answer]).await;
    let sink = receiver.sink("ort");
    let sink = SinkConfig { expire_after: Duration::ZERO, timeout: Duration::from_millis(200), ..sink };
    let delivery = mk_delivery(vec![sink]);
    let status = delivery.until(SinkState::Dead).await;
    assert_eq!(status.last_error.as_deref(), Some(error));
    assert_eq!(delivery.deliveries("ort", "dead"), 1);
}

#[tokio::test]
async fn a_connection_error_does_not_show_the_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
    let addr = listener.local_addr().expect("it is bound");
    drop(listener);
    let receiver = Receiver::start(vec![]).await;
    let url = format!("http://{addr}/hook?token=s3cret");
    let delivery = mk_delivery(vec![SinkConfig { url, expire_after: Duration::ZERO, ..receiver.sink("ort") }]);
    let error = delivery.until(SinkState::Dead).await.last_error.expect("an error");
    assert!(error.starts_with("cannot send the request:") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn without_a_readable_secret_file_nothing_is_sent() {
    let mut receiver = Receiver::start(vec![]).await;
    let missing = Some(PathBuf::from("/nowhere/secret"));
    let sink = SinkConfig { secret_file: missing, expire_after: Duration::ZERO, ..receiver.sink("ort") };
    let status = mk_delivery(vec![sink]).until(SinkState::Dead).await;
    assert!(status.last_error.expect("an error").starts_with("cannot read the secret file"));
    assert!(receiver.received.try_recv().is_err());
}

#[tokio::test]
async fn a_slow_receiver_does_not_delay_other_sinks() {
    let (slow, quick) = (Receiver::start(vec![None; 9]).await, Receiver::start(vec![]).await);
    let delivery = mk_delivery(vec![quick.sink("quick"), slow.sink("slow")]);
    delivery.until(SinkState::Acknowledged).await;
    let summary = delivery.api.get(OUTCOME).expect("kept")["status"]["summary"].clone();
    assert_eq!(summary, "quick acknowledged, slow pending");
}

#[tokio::test]
async fn the_certificate_of_a_receiver_is_verified_with_the_configured_ca() {
    install_crypto_provider();
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let identity = ServerIdentity::new();
    identity.set_pem(signed.cert.pem(), signed.signing_key.serialize_pem()).expect("a pair");
    let mut receiver = Receiver::start_with(vec![], Some(TlsAcceptor::from(identity.server_config()))).await;
    let ca = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(ca.path(), signed.cert.pem()).expect("writable");
    let url = format!("https://localhost:{}/", receiver.addr.port());
    let sink = SinkConfig { url, ca_file: Some(ca.path().to_owned()), ..receiver.sink("ort") };
    mk_delivery(vec![sink]).until(SinkState::Acknowledged).await;
    assert_eq!(receiver.next().await.headers["webhook-id"], "1111.final");
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_of_the_status_is_retried() {
    let delivery = mk_delivery(vec![]);
    delivery.api.fail(0, Failure::Before);
    let acknowledged = SinkStatus { state: SinkState::Acknowledged, attempts: 1, ..SinkStatus::untried("ort") };
    delivery.statuses().write(&mk_outcome().outcome_name(), &acknowledged).await;
    let outcome = delivery.api.get(OUTCOME).expect("kept");
    assert_eq!(outcome["status"]["sinks"], json!([{ "name": "ort", "state": "acknowledged", "attempts": 1 }]));
    assert_eq!(delivery.api.writes().len(), 2);
}

#[tokio::test]
async fn the_oldest_outcome_is_delivered_first() {
    let receiver = Receiver::start(vec![]).await;
    let delivery = mk_delivery(vec![receiver.sink("ort")]);
    let mut older = mk_outcome();
    older.metadata.name = Some("9999.final".to_owned());
    delivery.outbox.note(older);
    let sink = HttpSink::new(&receiver.sink("ort")).expect("a valid sink");
    let mut worker = Worker::new(Arc::new(sink), Arc::new(delivery.statuses()), Metrics::default());
    let pending = worker.collect_pending();
    let names: Vec<_> = pending.iter().map(|pending| pending.name.to_string()).collect();
    assert_eq!(names, ["9999.final", "1111.final"]);
    let first = worker.take_due(pending, 1);
    assert_eq!(first[0].name.as_str(), "9999.final");
    let again = worker.collect_pending();
    assert_eq!(worker.take_due(again, 9).len(), 1, "a delivery in flight is not started again");
}

#[tokio::test]
async fn the_first_outcome_of_a_namespace_does_not_wait_for_a_thousand_of_another() {
    let receiver = Receiver::start(vec![]).await;
    let delivery = mk_delivery(vec![receiver.sink("ort")]);
    let note = |name: String, namespace: &str, second: i64| {
        let mut outcome = mk_outcome();
        outcome.metadata.name = Some(name);
        namespace.clone_into(&mut outcome.spec.namespace);
        outcome.spec.created_at = Timestamp::from_second(second).expect("in range");
        delivery.outbox.note(outcome);
    };
    for number in 0..1000 {
        note(format!("flood-{number:04}.final"), "flood", number);
    }
    let sink = HttpSink::new(&receiver.sink("ort")).expect("a valid sink");
    let mut worker = Worker::new(Arc::new(sink), Arc::new(delivery.statuses()), Metrics::default());
    let take = |worker: &mut Worker, room| {
        let pending = worker.collect_pending();
        worker.take_due(pending, room).into_iter().map(|pending| pending.name.to_string()).collect::<Vec<_>>()
    };
    let first = take(&mut worker, CONCURRENCY);
    assert_eq!(first.iter().filter(|name| name.starts_with("flood")).count(), SHARE);
    assert!(first.contains(&"1111.final".to_owned()), "that of the other namespace is among the first: {first:?}");
    note("quiet.final".to_owned(), "quiet", 9999);
    assert_eq!(take(&mut worker, 1), ["quiet.final"], "the newest of all, but nothing of its namespace is in flight");
}
