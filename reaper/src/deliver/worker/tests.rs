use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jobwarden_common::notification::CloudEvent;
use jobwarden_serve::{
    signature::Secrets,
    tls::{ServerIdentity, install_crypto_provider},
};
use kube::runtime::events::{Recorder, Reporter};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    deliver::{Config, Deliverer, Routes, SinkConfig},
    fake_api::{Failure, FakeApi},
    outbox::{Outbox, object::tests::mk_outcome},
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
        mk_sink(name, json!({ "url": format!("http://{}/hook?token=s3cret", self.addr) }))
    }

    async fn next(&mut self) -> Received {
        self.received.recv().await.expect("the receiver is running")
    }
}

/// A sink with these fields of the configuration.
#[allow(clippy::needless_pass_by_value, reason = "reads well with json!")]
fn mk_sink(name: &str, fields: Value) -> SinkConfig {
    let mut sink = json!({ "name": name });
    json_patch::merge(&mut sink, &fields);
    serde_json::from_value(sink).expect("a valid sink")
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
    // Recorded just now: the delivery of an old outcome would be given up.
    outcome.spec.created_at = Timestamp::now();
    // The sinks for dead letters receive nothing else.
    let targets: Vec<_> = sinks.iter().filter_map(|sink| sink.dead_letter_to.clone()).collect();
    outcome.spec.sinks = sinks.iter().map(|sink| sink.name.clone()).filter(|name| !targets.contains(name)).collect();
    api.put(OUTCOME, serde_json::to_value(&outcome).expect("serializes"));
    let stored = serde_json::from_value(api.get(OUTCOME).expect("just put")).expect("an outcome");
    outbox.note(stored);
    let config = Config { sinks, ..Config::default() };
    let events = Recorder::new(api.client(), Reporter { controller: "jobwarden.io/reaper".to_owned(), instance: None });
    let (routes, client) = (Routes::default(), api.client());
    let deliverer = Deliverer::new(&config, routes, client, "jobwarden", events, outbox.clone(), metrics.clone());
    Delivery { deliverer: deliverer.expect("valid sinks"), api, outbox, metrics }
}

impl Delivery {
    /// Delivers until the first sink has the state `until`.
    async fn until(&self, until: SinkState) -> SinkStatus {
        let first = self.deliverer.sinks.borrow()[0].name.clone();
        self.until_sink(&first, until).await
    }

    /// Delivers until the sink `name` has the state `until`.
    async fn until_sink(&self, sink: &str, until: SinkState) -> SinkStatus {
        let mut changes = self.outbox.subscribe();
        let name = mk_outcome().outcome_name();
        let reached = async {
            loop {
                let entry = self.outbox.get(&name).expect("the outcome exists");
                if let Some(status) = entry.sinks.iter().find(|it| it.name == sink && it.state == until).cloned() {
                    return status;
                }
                changes.changed().await.expect("the outbox exists");
            }
        };
        tokio::select! {
            sink = reached => sink,
            () = self.deliverer.run() => panic!("the deliverer never returns"),
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
    let url = format!("http://{}/", receiver.addr);
    let delivery = mk_delivery(vec![mk_sink("ort", json!({ "url": url, "secretFile": secret.path() }))]);
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

/// A delivery that is given up is dead and shows the error of its last attempt, without secrets.
#[rstest]
#[case::server_error(Some(500), "the receiver responded with 500 Internal Server Error")]
#[case::redirect(Some(307), "redirects are not followed")]
#[case::no_response(None, "operation timed out")]
#[tokio::test]
async fn a_delivery_that_is_given_up_shows_its_last_error(#[case] answer: Option<u16>, #[case] error: &str) {
    let receiver = Receiver::start(vec![answer]).await;
    let url = format!("http://{}/hook?token=s3cret", receiver.addr);
    let delivery = mk_delivery(vec![mk_sink("ort", json!({ "url": url, "timeout": "200ms", "giveUpAfter": "0s" }))]);
    let status = delivery.until(SinkState::Dead).await;
    let shown = status.last_error.expect("an error");
    assert!(shown.contains(error) && !shown.contains("s3cret"), "{shown}");
    assert_eq!(delivery.deliveries("ort", "dead"), 1);
}

#[tokio::test]
async fn what_is_given_up_goes_to_the_sink_for_dead_letters_and_an_event_says_so() {
    let (broken, mut archive) = (Receiver::start(vec![Some(500)]).await, Receiver::start(vec![]).await);
    let url = format!("http://{}/", broken.addr);
    let ort = mk_sink("ort", json!({ "url": url, "giveUpAfter": "0s", "deadLetterTo": "archive" }));
    let delivery = mk_delivery(vec![ort, archive.sink("archive")]);
    delivery.until_sink("archive", SinkState::Acknowledged).await;
    assert_eq!(archive.next().await.headers["webhook-id"], "1111.final");
    let outcome = delivery.api.get(OUTCOME).expect("kept");
    assert_eq!(outcome["status"]["summary"], "ort dead, archive acknowledged");
    let events = delivery.api.paths("/events/");
    let event = delivery.api.get(events.first().expect("published")).expect("it exists");
    assert_eq!((&event["reason"], &event["regarding"]["kind"]), (&json!("DeliveryGivenUp"), &json!("JobOutcome")));
}

#[tokio::test]
async fn a_status_is_written_when_the_state_or_the_error_changes_and_not_for_each_attempt() {
    let receiver = Receiver::start(vec![Some(500), Some(500), Some(503)]).await;
    let delivery = mk_delivery(vec![receiver.sink("ort")]);
    let status = delivery.until(SinkState::Acknowledged).await;
    assert_eq!(status.attempts, 4);
    let statuses = delivery.api.writes().into_iter().filter(|write| write.contains("/joboutcomes/")).count();
    assert_eq!(statuses, 3, "the first error, the other one, and the acknowledgement");
}

#[tokio::test]
async fn a_changed_configuration_replaces_the_sinks_without_a_restart() {
    let (mut old, mut new) = (Receiver::start(vec![None; 9]).await, Receiver::start(vec![]).await);
    let delivery = mk_delivery(vec![old.sink("ort")]);
    let replaced = async {
        old.next().await;
        let config = Config { sinks: vec![new.sink("ort")], ..Config::default() };
        delivery.deliverer.replace(&config).expect("valid sinks");
        new.next().await
    };
    let (received, status) = tokio::join!(replaced, delivery.until(SinkState::Acknowledged));
    assert_eq!((received.headers["webhook-id"].as_str(), status.attempts), ("1111.final", 1));
}

#[tokio::test]
async fn a_change_of_the_configuration_that_is_not_about_sinks_interrupts_no_delivery() {
    let receiver = Receiver::start(vec![]).await;
    let delivery = mk_delivery(vec![receiver.sink("ort")]);
    let changes = delivery.deliverer.sinks.subscribe();
    let mut config = Config { sinks: vec![receiver.sink("ort")], ..Config::default() };
    config.breaker.hold_for = Duration::ZERO;
    delivery.deliverer.replace(&config).expect("valid sinks");
    assert!(!changes.has_changed().expect("the deliverer is there"));
    config.sinks.push(receiver.sink("other"));
    delivery.deliverer.replace(&config).expect("valid sinks");
    assert!(changes.has_changed().expect("the deliverer is there"));
}

#[tokio::test]
async fn a_slow_receiver_does_not_delay_other_sinks() {
    let (slow, quick) = (Receiver::start(vec![None; 9]).await, Receiver::start(vec![]).await);
    let delivery = mk_delivery(vec![quick.sink("quick"), slow.sink("slow")]);
    delivery.until(SinkState::Acknowledged).await;
    let summary = delivery.api.get(OUTCOME).expect("kept")["status"]["summary"].clone();
    assert_eq!(summary, "quick acknowledged", "there is nothing to say of the other one yet");
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
    let sink = mk_sink("ort", json!({ "url": url, "caFile": ca.path() }));
    mk_delivery(vec![sink]).until(SinkState::Acknowledged).await;
    assert_eq!(receiver.next().await.headers["webhook-id"], "1111.final");
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_of_the_status_is_retried() {
    let delivery = mk_delivery(vec![]);
    delivery.api.fail(0, Failure::Before);
    let acknowledged = SinkStatus { state: SinkState::Acknowledged, attempts: 1, ..SinkStatus::untried("ort") };
    delivery.deliverer.statuses.write(&mk_outcome().outcome_name(), &acknowledged, None).await;
    let outcome = delivery.api.get(OUTCOME).expect("kept");
    assert_eq!(outcome["status"]["sinks"], json!([{ "name": "ort", "state": "acknowledged", "attempts": 1 }]));
    assert_eq!(delivery.api.writes().len(), 2);
}
