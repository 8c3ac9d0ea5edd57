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

/// What a receiver got.
struct Received {
    headers: BTreeMap<String, String>,
    body: Bytes,
}

/// An orchestrator on loopback that answers as told, and with 200 after that; `None` is no answer at all.
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
        let (tell, received) = mpsc::unbounded_channel();
        let answers = Arc::new(std::sync::Mutex::new(answers.into_iter()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tell, answers) = (tell.clone(), Arc::clone(&answers));
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answers.lock().expect("nobody panics").next().unwrap_or(Some(200));
                    let tell = tell.clone();
                    async move { answer_with(answer, request, tell).await }
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
            give_up_after: Duration::from_hours(24),
        }
    }

    async fn next(&mut self) -> Received {
        self.received.recv().await.expect("the receiver lives")
    }
}

async fn answer_with(
    answer: Option<u16>,
    request: Request<Incoming>,
    tell: mpsc::UnboundedSender<Received>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = body.collect().await?.to_bytes();
    tell.send(Received { headers, body }).expect("the test listens");
    let Some(code) = answer else { return std::future::pending().await };
    let response = Response::builder().status(StatusCode::from_u16(code).expect("a status"));
    Ok(response.header("location", "http://127.0.0.1:1/").body(Full::default()).expect("a response"))
}

/// A recorded outcome in an outbox, and who delivers it.
struct Post {
    api: FakeApi,
    outbox: Outbox,
    metrics: Metrics,
    deliverer: Deliverer,
}

fn post(sinks: Vec<SinkConfig>) -> Post {
    install_crypto_provider();
    let (api, outbox, metrics) = (FakeApi::default(), Outbox::new(), Metrics::default());
    let mut outcome = mk_outcome();
    // As if recorded just now: an old one would have been given up.
    outcome.spec.created_at = Timestamp::now();
    let untried = sinks.iter().map(|sink| SinkStatus::untried(&sink.name)).collect();
    outcome.status = Some(JobOutcomeStatus::of(untried));
    api.put(OUTCOME, serde_json::to_value(&outcome).expect("serializes"));
    let stored = serde_json::from_value(api.get(OUTCOME).expect("just put")).expect("an outcome");
    outbox.note(stored);
    let config = Config { sinks, ..Config::default() };
    let deliverer = Deliverer::new(&config, api.client(), "jobwarden", outbox.clone(), metrics.clone());
    Post { deliverer: deliverer.expect("valid sinks"), api, outbox, metrics }
}

impl Post {
    /// Delivers until the status says `until` of the first sink.
    async fn until(&self, until: SinkState) -> SinkStatus {
        let mut changes = self.outbox.subscribe();
        let name = mk_outcome().outcome_name();
        let reached = async {
            loop {
                let entry = self.outbox.get(&name).expect("it is there");
                let sink = entry.sinks.expect("addressed").remove(0);
                if sink.state == until {
                    return sink;
                }
                changes.changed().await.expect("the outbox lives");
            }
        };
        tokio::select! {
            sink = reached => sink,
            () = self.deliverer.run() => panic!("it delivers for ever"),
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
    let post = post(vec![SinkConfig { secret_file: Some(secret.path().to_owned()), ..receiver.sink("ort") }]);
    let status = post.until(SinkState::Acknowledged).await;
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
    assert_eq!(post.api.get(OUTCOME).expect("kept")["status"]["summary"], "ort acknowledged");
    assert_eq!(post.deliveries("ort", "acknowledged"), 1);
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_with_the_same_id() {
    let mut receiver = Receiver::start(vec![Some(503)]).await;
    let post = post(vec![receiver.sink("ort")]);
    let status = post.until(SinkState::Acknowledged).await;
    assert_eq!((status.attempts, status.last_error), (2, None));
    let (first, second) = (receiver.next().await, receiver.next().await);
    assert_eq!(first.headers["webhook-id"], second.headers["webhook-id"]);
    assert_eq!(first.body, second.body);
    assert!(!first.headers.contains_key("webhook-signature"), "there is no secret");
    assert_eq!((post.deliveries("ort", "failed"), post.deliveries("ort", "acknowledged")), (1, 1));
}

#[tokio::test]
async fn gone_is_a_refusal() {
    let mut receiver = Receiver::start(vec![Some(410)]).await;
    let post = post(vec![receiver.sink("ort")]);
    let status = post.until(SinkState::Refused).await;
    assert_eq!(status.attempts, 1);
    receiver.next().await;
    assert!(receiver.received.try_recv().is_err(), "it is not asked again");
}

/// An outcome that nobody took in its time is dead, is shown with its last error, and tells no secret.
#[rstest]
#[case::it_fails(Some(500), "the receiver answered 500 Internal Server Error")]
#[case::it_refuses_the_signature(Some(401), "the receiver answered 401 Unauthorized")]
#[case::it_is_elsewhere(
    Some(307),
    "the receiver answered 307 Temporary Redirect; redirects are not followed, give the final url"
)]
#[case::it_does_not_answer(None, "cannot post: error sending request: operation timed out")]
#[tokio::test]
async fn what_is_given_up_says_why(#[case] answer: Option<u16>, #[case] error: &str) {
    let receiver = Receiver::start(vec![answer]).await;
    let sink = receiver.sink("ort");
    let sink = SinkConfig { give_up_after: Duration::ZERO, timeout: Duration::from_millis(200), ..sink };
    let post = post(vec![sink]);
    let status = post.until(SinkState::Dead).await;
    assert_eq!(status.last_error.as_deref(), Some(error));
    assert_eq!(post.deliveries("ort", "dead"), 1);
}

#[tokio::test]
async fn a_url_is_not_told_when_nobody_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
    let addr = listener.local_addr().expect("it is bound");
    drop(listener);
    let receiver = Receiver::start(vec![]).await;
    let url = format!("http://{addr}/hook?token=s3cret");
    let post = post(vec![SinkConfig { url, give_up_after: Duration::ZERO, ..receiver.sink("ort") }]);
    let error = post.until(SinkState::Dead).await.last_error.expect("it says why");
    assert!(error.starts_with("cannot post:") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_secret_file_that_cannot_be_used_is_said_and_nothing_is_sent_unsigned() {
    let mut receiver = Receiver::start(vec![]).await;
    let missing = Some(PathBuf::from("/nowhere/secret"));
    let sink = SinkConfig { secret_file: missing, give_up_after: Duration::ZERO, ..receiver.sink("ort") };
    let status = post(vec![sink]).until(SinkState::Dead).await;
    assert!(status.last_error.expect("it says why").starts_with("cannot read the secret file"));
    assert!(receiver.received.try_recv().is_err());
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_keeps_no_other_waiting() {
    let (slow, quick) = (Receiver::start(vec![None; 9]).await, Receiver::start(vec![]).await);
    let post = post(vec![quick.sink("quick"), slow.sink("slow")]);
    post.until(SinkState::Acknowledged).await;
    let summary = post.api.get(OUTCOME).expect("kept")["status"]["summary"].clone();
    assert_eq!(summary, "quick acknowledged, slow pending");
}

#[tokio::test]
async fn https_receivers_are_checked_against_the_given_ca() {
    install_crypto_provider();
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let identity = ServerIdentity::new();
    identity.set_pem(signed.cert.pem(), signed.signing_key.serialize_pem()).expect("a pair");
    let mut receiver = Receiver::start_with(vec![], Some(TlsAcceptor::from(identity.server_config()))).await;
    let ca = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(ca.path(), signed.cert.pem()).expect("writable");
    let url = format!("https://localhost:{}/", receiver.addr.port());
    let sink = SinkConfig { url, ca_file: Some(ca.path().to_owned()), ..receiver.sink("ort") };
    post(vec![sink]).until(SinkState::Acknowledged).await;
    assert_eq!(receiver.next().await.headers["webhook-id"], "1111.final");
}

#[tokio::test(start_paused = true)]
async fn a_status_that_cannot_be_written_is_written_in_the_end() {
    let post = post(vec![]);
    post.api.fail(0, Failure::Before);
    let state = super::super::state::Post {
        outcomes: Api::namespaced(post.api.client(), "jobwarden"),
        outbox: post.outbox.clone(),
        sinks: vec!["ort".to_owned()],
    };
    let acknowledged = SinkStatus { state: SinkState::Acknowledged, attempts: 1, ..SinkStatus::untried("ort") };
    state.write(&mk_outcome().outcome_name(), &acknowledged).await;
    let outcome = post.api.get(OUTCOME).expect("kept");
    assert_eq!(outcome["status"]["sinks"], json!([{ "name": "ort", "state": "acknowledged", "attempts": 1 }]));
    assert_eq!(post.api.writes().len(), 2);
}

#[tokio::test]
async fn the_oldest_goes_first() {
    let receiver = Receiver::start(vec![]).await;
    let post = post(vec![receiver.sink("ort")]);
    let mut older = mk_outcome();
    older.metadata.name = Some("9999.final".to_owned());
    post.outbox.note(older);
    let state = super::super::state::Post {
        outcomes: Api::namespaced(post.api.client(), "jobwarden"),
        outbox: post.outbox.clone(),
        sinks: vec!["ort".to_owned()],
    };
    let sink = HttpSink::new(&receiver.sink("ort")).expect("a valid sink");
    let mut worker = Worker::new(Arc::new(sink), Arc::new(state), Metrics::default());
    let pending = worker.survey();
    let names: Vec<_> = pending.iter().map(|pending| pending.name.to_string()).collect();
    assert_eq!(names, ["9999.final", "1111.final"]);
    let first = worker.take_due(pending, 1);
    assert_eq!(first[0].name.as_str(), "9999.final");
    let again = worker.survey();
    assert_eq!(worker.take_due(again, 9).len(), 1, "what is under way is not begun again");
}
