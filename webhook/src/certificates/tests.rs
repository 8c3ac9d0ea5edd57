//! Whole rounds of the keeper against an API server in memory.

mod fake;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use jobwarden_inject::endpoint::Endpoint;
use jobwarden_serve::{
    admin::{Gate, Readiness},
    shutdown::Shutdown,
    tls::ServerIdentity,
};
use k8s_openapi::ByteString;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use self::fake::ApiServer;
use super::{
    CertificateError, DAY, Keeper, Lifetimes, Metrics, Source,
    leaf::{self, Leaf},
    rotation::Rotation,
    secrets::{Contents, Secrets},
};
const CA: &str = "/api/v1/namespaces/jobwarden/secrets/jobwarden-ca";
const WEBHOOK: &str = "/api/v1/namespaces/jobwarden/secrets/jobwarden-webhook-tls";
const REAPER: &str = "/api/v1/namespaces/jobwarden/secrets/jobwarden-reaper-tls";
const SERVICE: &str = "/api/v1/namespaces/jobwarden/services/jobwarden-reaper";
const ENDPOINT: &str = "/api/v1/namespaces/jobwarden/configmaps/jobwarden-reaper-endpoint";
const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/jobwarden";

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_000 * DAY
}

/// What the chart makes.
fn installed() -> ApiServer {
    let server = ApiServer::default();
    server.put(SERVICE, json!({"metadata": {"name": "jobwarden-reaper"}, "spec": {"clusterIP": "10.96.0.7"}}));
    let webhook = |name: &str| {
        json!({"name": name, "clientConfig": {"service": {"name": "jobwarden-webhook", "namespace": "jobwarden"}},
               "sideEffects": "None", "admissionReviewVersions": ["v1"]})
    };
    let webhooks = [webhook("jobs.jobwarden.io"), webhook("pods.jobwarden.io")];
    server.put(CONFIGURATION, json!({"metadata": {"name": "jobwarden"}, "webhooks": webhooks}));
    server
}

struct Replica {
    keeper: Keeper,
    identity: ServerIdentity,
    reaper: watch::Receiver<Option<Arc<Endpoint>>>,
}

fn replica(server: &ApiServer) -> Replica {
    replica_with(server, Lifetimes::default())
}

fn replica_with(server: &ApiServer, lifetimes: Lifetimes) -> Replica {
    let identity = ServerIdentity::new();
    let (sender, reaper) = watch::channel(None);
    let gate = Readiness::new().condition("certificates");
    let keeper = keeper(server, lifetimes, identity.clone(), sender, gate);
    Replica { keeper, identity, reaper }
}

fn keeper(
    server: &ApiServer,
    lifetimes: Lifetimes,
    identity: ServerIdentity,
    reaper: watch::Sender<Option<Arc<Endpoint>>>,
    gate: Gate,
) -> Keeper {
    let source = Source::Managed(lifetimes);
    Keeper::new(server.client(), "jobwarden".to_owned(), source, identity, reaper, gate, Metrics::default())
}

fn contents(secret: &Value) -> Contents {
    serde_json::from_value(secret["data"].clone()).expect("data of a Secret")
}

/// The state in which everybody can talk to everybody; gives the authority.
async fn assert_in_order(server: &ApiServer) -> String {
    let before = server.get(CA);
    let lifetimes = Lifetimes::default();
    let rotation = Secrets::new(server.client(), "jobwarden").rotation(now(), lifetimes).await.expect("an authority");
    assert_eq!(server.get(CA), before, "the authority was of use as it was");
    for (secret, service) in [(WEBHOOK, "jobwarden-webhook"), (REAPER, "jobwarden-reaper")] {
        let names = leaf::names(service, "jobwarden");
        let leaf = Leaf::read(&contents(&server.get(secret))).expect("a leaf");
        leaf.check(&rotation.current, &names, now()).expect("a leaf in order");
    }
    let endpoint = json!({
        "address": "10.96.0.7:8444", "server-name": "jobwarden-reaper.jobwarden.svc", "ca.crt": rotation.bundle(),
    });
    assert_eq!(server.get(ENDPOINT)["data"], endpoint);
    for index in [0, 1] {
        assert_eq!(server.get(CONFIGURATION)["webhooks"][index]["clientConfig"]["caBundle"], before["data"]["tls.crt"]);
    }
    rotation.bundle()
}

#[tokio::test]
async fn the_first_round_makes_everything_and_the_second_nothing() {
    let server = installed();
    let Replica { mut keeper, identity, reaper } = replica(&server);
    keeper.round(now()).await.expect("a round");
    let ca = assert_in_order(&server).await;
    assert!(identity.not_after().is_some());
    let endpoint = reaper.borrow().clone().expect("the endpoint is known");
    assert_eq!((endpoint.address(), endpoint.ca()), ("10.96.0.7:8444", ca.as_str()));
    assert_eq!(server.writes(), 5);
    keeper.round(now()).await.expect("another round");
    assert_eq!(server.writes(), 0);
}

#[tokio::test]
async fn two_replicas_that_start_together_agree() {
    let server = installed();
    let (mut one, mut other) = (replica(&server), replica(&server));
    let rounds = tokio::join!(one.keeper.round(now()), other.keeper.round(now()));
    rounds.0.expect("a round");
    rounds.1.expect("a round");
    assert_in_order(&server).await;
    assert_eq!(*one.reaper.borrow(), *other.reaper.borrow());
}

#[rstest]
#[case::authority_deleted(CA)]
#[case::leaf_deleted(WEBHOOK)]
#[case::reapers_leaf_deleted(REAPER)]
#[case::endpoint_deleted(ENDPOINT)]
#[tokio::test]
async fn what_is_deleted_is_made_again(#[case] path: &str) {
    let server = installed();
    let Replica { mut keeper, .. } = replica(&server);
    keeper.round(now()).await.expect("a round");
    server.delete(path);
    keeper.round(now()).await.expect("another round");
    assert_in_order(&server).await;
}

#[rstest]
#[case::bundle_cleared(CONFIGURATION, "/webhooks/1/clientConfig/caBundle", json!(""))]
#[case::endpoint_changed(ENDPOINT, "/data/address", json!("10.0.0.1:1"))]
#[case::leaf_broken(REAPER, "/data/tls.crt", json!("AAAA"))]
#[case::key_lost(WEBHOOK, "/data/tls.key", json!(""))]
#[tokio::test]
async fn what_is_spoilt_is_mended(#[case] path: &str, #[case] pointer: &str, #[case] value: Value) {
    let server = installed();
    let Replica { mut keeper, .. } = replica(&server);
    keeper.round(now()).await.expect("a round");
    let ca = assert_in_order(&server).await;
    let mut object = server.get(path);
    *object.pointer_mut(pointer).expect("it is there") = value;
    server.put(path, object);
    keeper.round(now()).await.expect("another round");
    assert_eq!(assert_in_order(&server).await, ca, "the authority stays");
}

#[tokio::test]
async fn a_leaf_is_renewed_in_time() {
    let server = installed();
    let Replica { mut keeper, .. } = replica(&server);
    keeper.round(now() - 61 * DAY).await.expect("a round");
    let (ca, leaf) = (server.get(CA), server.get(WEBHOOK));
    keeper.round(now()).await.expect("another round");
    assert_in_order(&server).await;
    assert_eq!(server.get(CA), ca);
    assert_ne!(server.get(WEBHOOK), leaf);
}

#[rstest]
#[case::none(SERVICE, None)]
#[case::headless(SERVICE, Some(json!({"metadata": {"name": "jobwarden-reaper"}, "spec": {"clusterIP": "None"}})))]
#[case::no_configuration(CONFIGURATION, None)]
#[tokio::test]
async fn what_the_installation_lacks_is_waited_for(#[case] path: &str, #[case] instead: Option<Value>) {
    let server = installed();
    let good = server.get(path);
    match &instead {
        Some(object) => server.put(path, object.clone()),
        None => server.delete(path),
    }
    let Replica { mut keeper, .. } = replica(&server);
    let error = keeper.round(now()).await.expect_err("something is missing");
    match instead {
        None => assert!(matches!(error, CertificateError::Missing { .. }), "{error}"),
        Some(_) => assert!(matches!(error, CertificateError::NoClusterIp(_)), "{error}"),
    }
    server.put(path, good);
    keeper.round(now()).await.expect("another round");
    assert_in_order(&server).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_once_the_last_thing_is_there() {
    let server = installed();
    let service = server.get(SERVICE);
    server.delete(SERVICE);
    let readiness = Readiness::new();
    let gate = readiness.condition("certificates");
    let keeper = keeper(&server, Lifetimes::default(), ServerIdentity::new(), watch::channel(None).0, gate);
    let shutdown = Shutdown::manual();
    let running = tokio::spawn(keeper.run(shutdown.clone()));
    let until = async |condition: fn(&[String]) -> bool| {
        // Time is paused: this passes as soon as nothing else is to be done.
        let satisfied = async {
            while !condition(&readiness.unready()) {
                sleep(Duration::from_secs(1)).await;
            }
        };
        timeout(Duration::from_mins(5), satisfied).await.expect("the condition comes about");
    };
    until(|unready| unready.iter().any(|reason| reason.contains("Service jobwarden/jobwarden-reaper"))).await;
    server.put(SERVICE, service);
    until(<[String]>::is_empty).await;
    shutdown.trigger();
    running.await.expect("it ends in order");
}

/// What a client that trusts `bundle` makes of what is served.
fn serves(server: &ApiServer, secret: &str, service: &str, bundle: &str, now: SystemTime) {
    let leaf = Leaf::read(&contents(&server.get(secret))).expect("a leaf");
    if let Err(error) = leaf.serves(bundle, &leaf::names(service, "jobwarden"), now) {
        panic!("{service} is not trusted {:?} after the start: {error}", now.duration_since(self::now()));
    }
}

fn live_bundle(server: &ApiServer) -> String {
    let bundle = server.get(CONFIGURATION)["webhooks"][1]["clientConfig"]["caBundle"].clone();
    let bytes: ByteString = serde_json::from_value(bundle).expect("base64");
    String::from_utf8(bytes.0).expect("PEM")
}

#[tokio::test]
async fn nobody_loses_trust_while_authorities_rotate() {
    let lifetimes = Lifetimes { authority: Duration::from_secs(90), leaf: Duration::from_mins(1) };
    let server = installed();
    let (mut one, mut other) = (replica_with(&server, lifetimes), replica_with(&server, lifetimes));
    one.keeper.round(now()).await.expect("a round");
    other.keeper.round(now()).await.expect("a round");
    // A sidecar that hears of every bundle, and one that was told once and hears nothing for a while.
    let (mut heard, mut told) = (live_bundle(&server), (live_bundle(&server), now()));
    let mut authorities = vec![contents(&server.get(CA))["tls.crt"].clone()];
    for second in 1..360_u64 {
        let time = now() + Duration::from_secs(second);
        // Each replica looks every two seconds, and one of them is away now and then.
        if second % 2 == 0 {
            one.keeper.round(time).await.expect("a round");
        } else if second % 60 < 40 {
            other.keeper.round(time).await.expect("a round");
        }
        let live = live_bundle(&server);
        for (secret, service) in [(WEBHOOK, "jobwarden-webhook"), (REAPER, "jobwarden-reaper")] {
            for bundle in [&live, &heard, &told.0] {
                serves(&server, secret, service, bundle, time);
            }
        }
        if second % 5 == 0 {
            heard.clone_from(&live);
        }
        let current = contents(&server.get(CA))["tls.crt"].clone();
        if authorities.last() != Some(&current) {
            authorities.push(current);
        }
        // By then the youngest authority it knows may be in its last third, and expires soon.
        if time.duration_since(told.1).expect("later") >= Duration::from_secs(25) {
            told = (live, time);
        }
    }
    assert!(authorities.len() >= 5, "{} authorities in six minutes", authorities.len());
}

#[tokio::test]
async fn a_rotation_that_slept_through_its_time_begins_anew() {
    let server = installed();
    let Replica { mut keeper, .. } = replica(&server);
    keeper.round(now() - 4000 * DAY).await.expect("a round");
    keeper.round(now()).await.expect("another round");
    assert_in_order(&server).await;
}

#[tokio::test]
async fn a_webhook_that_comes_back_at_the_last_moment_keeps_what_was_announced() {
    let server = installed();
    let Replica { mut keeper, .. } = replica(&server);
    let end = now() + Lifetimes::default().authority;
    keeper.round(now()).await.expect("a round");
    keeper.round(end - Duration::from_secs(20)).await.expect("it announces");
    let announced = live_bundle(&server);
    keeper.round(end + DAY).await.expect("another round");
    assert!(announced.contains(&live_bundle(&server)), "clients were told of the authority that signs now");
}

#[tokio::test(start_paused = true)]
async fn a_replica_is_unready_while_the_api_server_distrusts_it_for_whatever_reason() {
    let server = installed();
    let readiness = Readiness::new();
    let gate = readiness.condition("certificates");
    let mut keeper = keeper(&server, Lifetimes::default(), ServerIdentity::new(), watch::channel(None).0, gate);
    keeper.round(now()).await.expect("a round");
    assert!(keeper.distrust(now()).await.is_none());
    let mut object = server.get(CONFIGURATION);
    object["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
    server.put(CONFIGURATION, object);
    // It fails before it gets to the caBundle.
    server.delete(SERVICE);
    keeper.round(now()).await.expect_err("there is no Service");
    let error = keeper.distrust(now()).await.expect("the API server trusts nobody");
    assert!(
        matches!(&error, CertificateError::Distrusted { webhook, .. } if webhook == "jobs.jobwarden.io"),
        "{error}"
    );
}

#[tokio::test]
async fn certificates_of_others_are_served_and_never_written() {
    let server = installed();
    let made = Rotation::begin(now(), Lifetimes::default()).expect("made");
    for (path, name) in [(WEBHOOK, "jobwarden-webhook"), (REAPER, "jobwarden-reaper")] {
        let leaf = leaf::make(&made.current, None, &leaf::names(name, "jobwarden"), Lifetimes::default(), now());
        server.put(path, json!({"metadata": {"name": name}, "data": leaf.expect("made").contents(&made.bundle())}));
    }
    let gate = Readiness::new().condition("certificates");
    let (identity, reaper) = (ServerIdentity::new(), watch::channel(None).0);
    let namespace = "jobwarden".to_owned();
    let mut keeper =
        Keeper::new(server.client(), namespace, Source::External, identity, reaper, gate, Metrics::default());
    let error = keeper.round(now()).await.expect_err("nobody has written the caBundle");
    assert!(matches!(error, CertificateError::Distrusted { .. }), "{error}");
    assert_eq!(server.writes(), 0);
    let mut object = server.get(CONFIGURATION);
    for index in [0, 1] {
        let bundle = ByteString(made.bundle().into_bytes());
        object["webhooks"][index]["clientConfig"]["caBundle"] = serde_json::to_value(bundle).expect("base64");
    }
    server.put(CONFIGURATION, object);
    keeper.round(now()).await.expect("a round");
    assert_eq!(server.writes(), 1, "the agents are told");
    keeper.round(now()).await.expect("another round");
    assert_eq!(server.writes(), 0);
}
