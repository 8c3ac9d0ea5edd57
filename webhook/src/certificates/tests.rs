//! Whole rounds of the keeper against an API server in memory.

mod fake;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use jobwarden_serve::{admin::Readiness, shutdown::Shutdown, tls::ServerIdentity};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use self::fake::ApiServer;
use super::{
    CertificateError, DAY, Keeper, leaf,
    secrets::{Contents, Secrets},
};
use jobwarden_inject::endpoint::Endpoint;

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
    let identity = ServerIdentity::new();
    let (sender, reaper) = watch::channel(None);
    let gate = Readiness::new().condition("certificates");
    let keeper = Keeper::new(server.client(), "jobwarden".to_owned(), identity.clone(), sender, gate);
    Replica { keeper, identity, reaper }
}

fn contents(secret: &Value) -> Contents {
    serde_json::from_value(secret["data"].clone()).expect("data of a Secret")
}

/// The state in which everybody can talk to everybody; gives the authority.
async fn assert_in_order(server: &ApiServer) -> String {
    let before = server.get(CA);
    let authority = Secrets::new(server.client(), "jobwarden").authority(now()).await.expect("an authority");
    assert_eq!(server.get(CA), before, "the authority was of use as it was");
    for (secret, service) in [(WEBHOOK, "jobwarden-webhook"), (REAPER, "jobwarden-reaper")] {
        let names = leaf::names(service, "jobwarden");
        leaf::check(&contents(&server.get(secret)), &authority, &names, now()).expect("a leaf in order");
    }
    let endpoint = json!({
        "address": "10.96.0.7:8444", "server-name": "jobwarden-reaper.jobwarden.svc", "ca.crt": authority.pem(),
    });
    assert_eq!(server.get(ENDPOINT)["data"], endpoint);
    for index in [0, 1] {
        assert_eq!(server.get(CONFIGURATION)["webhooks"][index]["clientConfig"]["caBundle"], before["data"]["tls.crt"]);
    }
    authority.pem().to_owned()
}

#[tokio::test]
async fn the_first_round_makes_everything_and_the_second_nothing() {
    let server = installed();
    let Replica { keeper, identity, reaper } = replica(&server);
    keeper.round(now()).await.expect("a round");
    let ca = assert_in_order(&server).await;
    assert!(identity.not_after().is_some());
    let endpoint = reaper.borrow().clone().expect("the endpoint is known");
    assert_eq!((endpoint.address.as_str(), &endpoint.ca), ("10.96.0.7:8444", &ca));
    assert_eq!(server.writes(), 5);
    keeper.round(now()).await.expect("another round");
    assert_eq!(server.writes(), 0);
}

#[tokio::test]
async fn two_replicas_that_start_together_agree() {
    let server = installed();
    let (one, other) = (replica(&server), replica(&server));
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
    let Replica { keeper, .. } = replica(&server);
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
    let Replica { keeper, .. } = replica(&server);
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
    let Replica { keeper, .. } = replica(&server);
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
    let Replica { keeper, .. } = replica(&server);
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
    let keeper =
        Keeper::new(server.client(), "jobwarden".to_owned(), ServerIdentity::new(), watch::channel(None).0, gate);
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
