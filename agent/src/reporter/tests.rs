//! Against a reaper of the test's own, over real TLS on loopback.

use std::{io::Write as _, net::SocketAddr, sync::Arc};

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use jobwarden_common::{identity::PodUid, observation::Report};
use jobwarden_serve::{
    accept::{self, Limits, read_body, serve_https},
    shutdown::ShutdownArgs,
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
    sampler::{ProcessKey, Sighting},
};

const NAME: &str = "jobwarden-reaper.jobwarden.svc";
const POD: &str = "0a1b2c3d-1111-2222-3333-444455556666";
/// Longer than anything here takes, so that reaching it is a failure.
const LONG: Duration = Duration::from_mins(1);

/// A certificate authority and what a server shows that it has signed: (CA, chain, key), PEM.
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

/// A report as it arrived, waiting for its answer.
struct Arrived {
    path: String,
    authorization: String,
    report: Report,
    answer: oneshot::Sender<(StatusCode, String)>,
}

impl Arrived {
    fn reply(self, reply: &ReportReply) {
        self.refuse(StatusCode::OK, &serde_json::to_string(reply).expect("plain data"));
    }

    fn refuse(self, status: StatusCode, text: &str) {
        self.answer.send((status, text.to_owned())).expect("the agent waits for its answer");
    }
}

/// A reaper that leaves every answer to the test.
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
                let (answer, answered) = oneshot::channel();
                // At the end of a test nobody waits any more.
                let _ = arrives.send(Arrived { path, authorization, report, answer }).await;
                let (status, text) = answered.await.unwrap_or((StatusCode::SERVICE_UNAVAILABLE, String::new()));
                Response::builder().status(status).body(Full::new(Bytes::from(text)))
            }
        });
        let drain = ShutdownArgs { drain_delay: Duration::ZERO, drain_timeout: Duration::ZERO };
        tokio::spawn(serve_https(
            listener,
            identity.server_config(),
            limits,
            service,
            Shutdown::manual(),
            drain,
            connections.clone(),
        ));
        Self { addr, identity, arriving, connections }
    }

    async fn next(&mut self) -> Arrived {
        timeout(LONG, self.arriving.recv()).await.expect("the agent reports").expect("the server runs")
    }
}

/// An agent under test; what it reads lives as long as this.
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

    fn sees(&self, rss_bytes: &[u64]) {
        let cgroup = format!("0::/kubepods/pod{POD}/{:064}\n", 7);
        let of = Arc::new(container(&cgroup).expect("a pod's"));
        let sighting = |(pid, rss_bytes): (i32, &u64)| Sighting {
            container: Arc::clone(&of),
            process: ProcessKey { pid, started: 1 },
            alive: true,
            cpu_ms: 0,
            rss_bytes: *rss_bytes,
            hwm_bytes: *rss_bytes,
        };
        let processes: Vec<_> = (1..).zip(rss_bytes).map(sighting).collect();
        self.view.sampled(Instant::now(), |ledger| ledger.record(&processes));
    }
}

fn reply(pods: &[&str]) -> ReportReply {
    ReportReply { next_in_ms: 0, pods: pods.iter().map(|pod| PodUid::from(*pod)).collect(), ca: None }
}

#[tokio::test]
async fn it_says_hello_learns_its_pods_and_reports_them_over_one_connection() {
    let (ca, chain, key) = issue();
    let mut reaper = Reaper::start(&chain, &key).await;
    let agent = Agent::start(reaper.addr, &ca);

    let hello = reaper.next().await;
    assert_eq!(hello.path, "/v1/observations");
    assert_eq!(hello.authorization, "Bearer first-token");
    assert_eq!((hello.report.seq, hello.report.pods.len()), (0, 0));
    assert!(hello.report.blind.is_some(), "there was no sample yet");
    agent.sees(&[30, 12]);
    hello.reply(&reply(&[POD]));

    let report = reaper.next().await;
    assert_eq!((report.report.seq, &report.report.blind), (1, &None));
    let pod = &report.report.pods[0];
    assert_eq!((pod.pod_uid.as_str(), pod.containers.len()), (POD, 1));
    assert_eq!((pod.containers[0].processes, pod.containers[0].rss_bytes), (2, 42));
    agent.sees(&[]);
    report.reply(&reply(&[POD]));

    let gone = reaper.next().await;
    let container = &gone.report.pods[0].containers[0];
    assert_eq!((container.processes, container.rss_sum_peak_bytes), (0, 42));
    assert_eq!(reaper.connections.connections(), 1);
    agent.shutdown.trigger();
}

#[tokio::test]
async fn the_token_is_read_anew_for_every_report() {
    let (ca, chain, key) = issue();
    let mut reaper = Reaper::start(&chain, &key).await;
    let agent = Agent::start(reaper.addr, &ca);
    let first = reaper.next().await;
    std::fs::write(agent.token.path(), "second-token").expect("written");
    first.reply(&reply(&[]));
    assert_eq!(reaper.next().await.authorization, "Bearer second-token");
}

#[tokio::test]
async fn peaks_that_nobody_has_acknowledged_are_reported_again() {
    let (ca, chain, key) = issue();
    let mut reaper = Reaper::start(&chain, &key).await;
    let agent = Agent::start(reaper.addr, &ca);
    reaper.next().await.reply(&reply(&[POD]));
    agent.sees(&[99]);
    let refused = reaper.next().await;
    agent.sees(&[]);
    refused.refuse(StatusCode::SERVICE_UNAVAILABLE, "not the leader");
    let again = reaper.next().await;
    assert_eq!(again.report.pods[0].containers[0].rss_sum_peak_bytes, 99);
    assert_eq!(agent.metrics.report_failures(), 1);
}

#[tokio::test]
async fn a_newer_ca_in_a_reply_is_trusted_at_the_next_connection() {
    let (old, new) = (issue(), issue());
    let mut reaper = Reaper::start(&old.1, &old.2).await;
    let agent = Agent::start(reaper.addr, &old.0);
    // The file stays as it is, and it is broken on top, so that the bundle in memory is all there is.
    let hello = reaper.next().await;
    std::fs::write(agent.ca.path(), "broken").expect("written");
    hello.reply(&ReportReply { ca: Some(format!("{}{}", old.0, new.0)), ..reply(&[]) });
    let second = reaper.next().await;
    reaper.identity.set_pem(&new.1, &new.2).expect("a pair");
    second.refuse(StatusCode::SERVICE_UNAVAILABLE, "not the leader any more");
    assert_eq!(reaper.next().await.report.seq, 2, "it came over a connection under the new certificate");
}

#[tokio::test]
async fn after_a_failure_the_endpoint_is_read_anew() {
    let (old, new) = (issue(), issue());
    let mut reaper = Reaper::start(&new.1, &new.2).await;
    let agent = Agent::start(reaper.addr, &old.0);
    // It cannot trust this server, until the file says that it may.
    while agent.metrics.report_failures() == 0 {
        tokio::task::yield_now().await;
    }
    std::fs::write(agent.ca.path(), &new.0).expect("written");
    assert_eq!(reaper.next().await.path, "/v1/observations");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_no_failure() {
    let (ca, chain, key) = issue();
    // Every connection is closed long before the next report.
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
fn reports_of_many_agents_spread(#[case] random: f64, #[case] seconds: u64) {
    assert_eq!(jitter(Duration::from_secs(10), random), Duration::from_secs(seconds));
}
