//! The whole path of a self-beat: token file, TCP, TLS, HTTP, token verification, intake.

use std::time::SystemTime;

use http::StatusCode;
use jobwarden_core::{builders::facts::mk_job, health::Watch, policy::Policy};
use jobwarden_serve::{
    accept::{Limits, Metrics as AcceptMetrics, Server},
    client::TokenError,
    tls::ServerIdentity,
};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::intake::{
    Intake, IntakeSettings,
    agents::Agents,
    keys::KeyRing,
    metrics::Metrics,
    token::{
        Verifier,
        fixture::{Signer, claims, key_set},
    },
};

const NAME: &str = "jobwarden-reaper.jobwarden.svc";

/// A leading reaper that serves on loopback, and its own beat, whose token says that it is `pod`.
async fn mk_reaper(pod: &str) -> (SelfBeat, Observer, tempfile::NamedTempFile) {
    let signer = Signer::new("k");
    let observer = Observer::new(Policy::default());
    for watch in Watch::ALL {
        observer.watch_listed(watch);
    }
    observer.start_listening();

    let issued = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("ring makes certificates");
    let (certificate, identity) = (issued.cert.pem(), ServerIdentity::new());
    identity.set_pem(&certificate, issued.signing_key.serialize_pem()).expect("a pair");
    let ca = Arc::new(ArcSwapOption::from_pointee(certificate));
    let ring = KeyRing::new();
    ring.set(key_set(&[&signer]));
    let settings = IntakeSettings {
        own_pod: "reaper".into(),
        beat_interval: Duration::from_secs(10),
        report_interval: Duration::from_secs(10),
    };
    let tokens = Verifier::new(ring, None);
    let agents = Agents::fixed("agents", []);
    let intake = Intake::new(settings, observer.clone(), tokens, agents, Arc::clone(&ca), Metrics::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let server = Server::https(listener, identity.server_config(), Limits::default(), AcceptMetrics::default());
    tokio::spawn(server.run(intake));

    let mut token = claims(pod, "node-1");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    token["exp"] = json!(now + 3600);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{}\n", signer.sign(&token))).expect("written");
    let beat = SelfBeat { address, server_name: NAME.to_owned(), token_file: file.path().to_owned(), ca };
    (beat, observer, file)
}

#[tokio::test]
async fn an_arrived_self_beat_ends_the_not_receiving_state() {
    let (beat, observer, _token) = mk_reaper("reaper").await;
    observer.with(|state, now| state.apply_job(mk_job("job"), now));
    observer.take_changed();
    assert_eq!(observer.health(), SignalHealth::NotReceiving);
    let beating = tokio::spawn(beat.run(observer.clone()));
    // Every Job is evaluated again.
    observer.changed().await;
    assert_eq!(observer.health(), SignalHealth::Receiving);
    beating.abort();
}

#[tokio::test]
async fn a_token_of_an_unknown_pod_is_rejected() {
    let (beat, observer, _token) = mk_reaper("stranger").await;
    let error = beat.post(0).await.expect_err("unknown pod");
    assert!(matches!(error, SelfBeatError::Post(PostError::Status { status: StatusCode::FORBIDDEN, .. })), "{error}");
    assert_eq!(observer.health(), SignalHealth::NotReceiving);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_trusted() {
    let (beat, observer, _token) = mk_reaper("reaper").await;
    let beat = SelfBeat { server_name: "elsewhere.example".to_owned(), ..beat };
    let error = beat.post(0).await.expect_err("another name");
    assert!(matches!(error, SelfBeatError::Post(PostError::Handshake { .. })), "{error}");
    assert_eq!(observer.health(), SignalHealth::NotReceiving);
}

#[tokio::test]
async fn the_error_names_what_is_missing() {
    let (beat, _, token) = mk_reaper("reaper").await;
    drop(token);
    assert!(matches!(beat.post(0).await, Err(SelfBeatError::Post(PostError::Token(TokenError::Read { .. })))));
    beat.ca.store(None);
    assert!(matches!(beat.post(0).await, Err(SelfBeatError::NoCa)));
}
