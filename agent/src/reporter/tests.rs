//! Against a fake reaper, over real TLS on the loopback.

use std::{io::Write as _, net::SocketAddr, sync::Arc};

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use jobwarden_common::{identity::PodUid, observation::Report};
use jobwarden_serve::{
    accept::{self, Limits, Server, read_body},
    tls::ServerIdentity,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rstest::rstest;
use tempfile::NamedTempFile;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::*;
use crate::{
    cgroup::container,
    sampler::{ProcessKey, ProcessSample},
};

const NAME: &str = "jobwarden-reaper.jobwarden.svc";
const POD: &str = "0a1b2c3d-1111-2222-3333-444455556666";
/// Longer than anything here takes: a timeout of this length is a failure.
const LONG: Duration = Duration::from_mins(1);

/// A certificate authority and the certificate and key of a server: (CA, chain, key), PEM.
fn issue() -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("P-256 is supported");
    let ca = params.self_signed(&ca_key).expect("a valid certificate").pem();
    let key = KeyPair::generate().expect("P-256 is supported");
    let leaf = CertificateParams::new(vec![NAME.to_owned()]).expect("a valid name");
    let chain = leaf.signed_by(&key, &Issuer::new(params, ca_key)).expect("a valid certificate").pem();
    (ca, chain, key.serialize_pem())
}

/// A report that waits for its response.
struct Arrived {
    path: String,
    authorization: String,
    report: Report,
    response: oneshot::Sender<(StatusCode, String)>,
}

impl Arrived {
    fn reply(self, reply: &ReportReply) {
        self.respond(StatusCode::OK, &serde_json::to_string(reply).expect("plain data"));
    }

    fn respond(self, status: StatusCode, text: &str) {
        self.response.send((status, text.to_owned())).expect("the agent waits for the response");
    }
}

/// A reaper whose responses the test chooses.
struct Reaper {
    addr: SocketAddr,
    identity: ServerIdentity,
    arriving: mpsc::Receiver<Arrived>,
    connections: accept::Metrics,
}

impl Reaper {
    async fn start(chain: &str, key: &str) -> Self {
        Self::start_with(Limits::default(), chain, key).await
    }

    async fn start_with(limits: Limits, chain: &str, key: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let addr = listener.local_addr().expect("bound");
        let (identity, connections) = (ServerIdentity::new(), accept::Metrics::default());
        identity.set_pem(chain, key).expect("a pair");
        let (arrives, arriving) = mpsc::channel(1);
        let service = service_fn(move |request: Request<Incoming>| {
            let arrives = arrives.clone();
            async move {
                let path = request.uri().path().to_owned();
                let header = request.headers().get(http::header::AUTHORIZATION);
                let authorization = header.map_or("", |value| value.to_str().expect("ASCII")).to_owned();
                let body = read_body(request.into_body(), 1 << 20).await.expect("a whole body");
                let report = serde_json::from_slice(&body).expect("a report");
                let (response, responded) = oneshot::channel();
                // At the end of a test the receiver is gone.
                let _ = arrives.send(Arrived { path, authorization, report, response }).await;
                let (status, text) = responded.await.unwrap_or((StatusCode::SERVICE_UNAVAILABLE, String::new()));
                Response::builder().status(status).body(Full::new(Bytes::from(text)))
            }
        });
        tokio::spawn(Server::https(listener, identity.server_config(), limits, connections.clone()).run(service));
        Self { addr, identity, arriving, connections }
    }

    async fn next(&mut self) -> Arrived {
        timeout(LONG, self.arriving.recv()).await.expect("the agent reports").expect("the server runs")
    }
}

/// An agent under test, and the files that it reads.
struct Agent {
    view: View,
    metrics: Metrics,
    token: NamedTempFile,
    ca: NamedTempFile,
    shutdown: Shutdown,
}

fn file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a place for files");
    file.write_all(content.as_bytes()).expect("written");
    file
}

impl Agent {
    fn start(reaper: SocketAddr, ca: &str) -> Self {
        let (view, metrics, shutdown) = (View::default(), Metrics::default(), Shutdown::manual());
        let (token, ca) = (file("first-token\n"), file(ca));
        let source = Source::Flags { address: reaper.to_string(), name: NAME.to_owned(), ca_file: ca.path().into() };
        let reporter = Reporter {
            view: view.clone(),
            source,
            token_file: token.path().into(),
            stale_after: LONG,
            metrics: metrics.clone(),
        };
        tokio::spawn(reporter.run(shutdown.clone()));
        Self { view, metrics, token, ca, shutdown }
    }

    fn samples(&self, rss_bytes: &[u64]) {
        let cgroup = format!("0::/kubepods/pod{POD}/{:064}\n", 7);
        let of = Arc::new(container(&cgroup).expect("a pod's"));
        let process_sample = |(pid, rss_bytes): (i32, &u64)| ProcessSample {
            container: Arc::clone(&of),
            process: ProcessKey { pid, started: 1 },
            alive: true,
            cpu_ms: 0,
            rss_bytes: *rss_bytes,
            hwm_bytes: *rss_bytes,
        };
        let processes: Vec<_> = (1..).zip(rss_bytes).map(process_sample).collect();
        self.view.sampled(Instant::now(), |ledger| ledger.record(&processes));
    }
}

fn reply(pods: &[&str]) -> ReportReply {
    ReportReply { next_in_ms: 0, pods: pods.iter().map(|pod| PodUid::from(*pod)).collect(), ca: None }
}

#[tokio::test]
async fn the_agent_learns_its_pods_and_reports_them_over_one_connection() {
    let (ca, chain, key) = issue();
    let mut reaper = Reaper::start(&chain, &key).await;
    let agent = Agent::start(reaper.addr, &ca);

    let first = reaper.next().await;
    assert_eq!(first.path, "/v1/observations");
    assert_eq!(first.authorization, "Bearer first-token");
    assert_eq!((first.report.seq, first.report.pods.len()), (0, 0));
    assert!(first.report.blind.is_some(), "there is no sample yet");
    agent.samples(&[30, 12]);
    first.reply(&reply(&[POD]));

    let report = reaper.next().await;
    assert_eq!((report.report.seq, &report.report.blind), (1, &None));
    let pod = &report.report.pods[0];
    assert_eq!((pod.pod_uid.as_str(), pod.containers.len()), (POD, 1));
    assert_eq!((pod.containers[0].processes, pod.containers[0].rss_bytes), (2, 42));
    agent.samples(&[]);
    report.reply(&reply(&[POD]));

    let gone = reaper.next().await;
    let container = &gone.report.pods[0].containers[0];
    assert_eq!((container.processes, container.rss_sum_peak_bytes), (0, 42));
    assert_eq!(reaper.connections.connections(), 1);
    agent.shutdown.trigger();
}

#[tokio::test]
async fn the_token_is_read_for_every_report() {
    let (ca, chain, key) = issue();
    let mut reaper = Reaper::start(&chain, &key).await;
    let agent = Agent::start(reaper.addr, &ca);
    let first = reaper.next().await;
    std::fs::write(agent.token.path(), "second-token").expect("written");
    first.reply(&reply(&[]));
    assert_eq!(reaper.next().await.authorization, "Bearer second-token");
}

#[tokio::test]
async fn peaks_in_an_unacknowledged_report_are_reported_again() {
    let (ca, chain, key) = issue();
    let mut reaper = Reaper::start(&chain, &key).await;
    let agent = Agent::start(reaper.addr, &ca);
    reaper.next().await.reply(&reply(&[POD]));
    agent.samples(&[99]);
    let refused = reaper.next().await;
    agent.samples(&[]);
    refused.respond(StatusCode::SERVICE_UNAVAILABLE, "not the leader");
    let again = reaper.next().await;
    assert_eq!(again.report.pods[0].containers[0].rss_sum_peak_bytes, 99);
    assert_eq!(agent.metrics.report_failures(), 1);
}

#[tokio::test]
async fn a_newer_ca_bundle_in_a_reply_is_trusted_from_the_next_connection() {
    let (old, new) = (issue(), issue());
    let mut reaper = Reaper::start(&old.1, &old.2).await;
    let agent = Agent::start(reaper.addr, &old.0);
    // The CA file is broken from now on, so that only the bundle in memory is valid.
    let first = reaper.next().await;
    std::fs::write(agent.ca.path(), "broken").expect("written");
    first.reply(&ReportReply { ca: Some(format!("{}{}", old.0, new.0)), ..reply(&[]) });
    let second = reaper.next().await;
    reaper.identity.set_pem(&new.1, &new.2).expect("a pair");
    second.respond(StatusCode::SERVICE_UNAVAILABLE, "no longer the leader");
    assert_eq!(reaper.next().await.report.seq, 2, "the connection uses the new certificate");
}

#[tokio::test]
async fn after_a_failure_the_endpoint_is_read_again() {
    let (old, new) = (issue(), issue());
    let mut reaper = Reaper::start(&new.1, &new.2).await;
    let agent = Agent::start(reaper.addr, &old.0);
    // The agent does not trust this server until the CA file is updated.
    while agent.metrics.report_failures() == 0 {
        tokio::task::yield_now().await;
    }
    std::fs::write(agent.ca.path(), &new.0).expect("written");
    assert_eq!(reaper.next().await.path, "/v1/observations");
}

#[tokio::test]
async fn a_connection_closed_by_the_server_is_not_a_failure() {
    let (ca, chain, key) = issue();
    // The server closes every connection long before the next report.
    let limits = Limits { idle_timeout: PAUSES.0 / 10, ..Limits::default() };
    let mut reaper = Reaper::start_with(limits, &chain, &key).await;
    let agent = Agent::start(reaper.addr, &ca);
    for seq in 0..3 {
        let arrived = reaper.next().await;
        assert_eq!(arrived.report.seq, seq);
        arrived.reply(&reply(&[]));
    }
    assert_eq!(agent.metrics.report_failures(), 0);
}

#[rstest]
#[case(1, 0.0, 500)]
#[case(1, 1.0, 1_000)]
#[case(3, 1.0, 4_000)]
#[case(5, 1.0, 15_000)]
#[case(u32::MAX, 1.0, 15_000)]
fn the_backoff_doubles_up_to_fifteen_seconds(#[case] failures: u32, #[case] random: f64, #[case] ms: u64) {
    assert_eq!(backoff(failures, random), Duration::from_millis(ms));
}

#[rstest]
#[case(0.0, 9)]
#[case(0.5, 10)]
#[case(1.0, 11)]
fn reports_have_jitter(#[case] random: f64, #[case] seconds: u64) {
    assert_eq!(jitter(Duration::from_secs(10), random), Duration::from_secs(seconds));
}
