//! Reconciliation against an API server in memory.

mod fake;
pub(super) mod older;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use jobwarden_inject::endpoint::{Endpoint, service_name};
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
    Controller, Lifetimes, Metrics, Source,
    contents::Contents,
    error::CertificateError,
    leaf::{self, Leaf},
    lifetime::{DAY, Terms},
    rotation::Rotation,
    secrets::Secrets,
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

/// An installation as the chart creates it.
fn installed() -> ApiServer {
    let server = ApiServer::default();
    server.put(SERVICE, json!({"metadata": {"name": "jobwarden-reaper"}, "spec": {"clusterIP": "10.96.0.7"}}));
    let webhook = |name: &str| {
        json!({"name": name, "clientConfig": {"service": {"name": "jobwarden-webhook", "namespace": "jobwarden"}},
               "sideEffects": "None", "admissionReviewVersions": ["v1"]})
    };
    let webhooks = [webhook("jobs.jobwarden.io"), webhook("pods.jobwarden.io")];
    server.put(CONFIGURATION, json!({"metadata": {"name": "jobwarden"}, "webhooks": webhooks}));
    for path in [CA, WEBHOOK, REAPER, ENDPOINT] {
        server.put(path, empty(path));
    }
    server
}

/// A Secret or `ConfigMap` as the chart renders it.
fn empty(path: &str) -> Value {
    let name = path.rsplit('/').next().expect("a path has a last part");
    json!({"metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "Helm"}}})
}

fn terms(lifetimes: Lifetimes) -> Terms<'static> {
    Terms { namespace: "jobwarden", lifetimes }
}

struct Replica {
    controller: Controller,
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
    let controller = controller(server, lifetimes, identity.clone(), sender, gate);
    Replica { controller, identity, reaper }
}

fn controller(
    server: &ApiServer,
    lifetimes: Lifetimes,
    identity: ServerIdentity,
    reaper: watch::Sender<Option<Arc<Endpoint>>>,
    gate: Gate,
) -> Controller {
    let source = Source::Managed(lifetimes);
    Controller::new(server.client(), "jobwarden".to_owned(), source, identity, reaper, gate, Metrics::default())
}

fn contents(secret: &Value) -> Contents {
    serde_json::from_value(secret["data"].clone()).expect("data of a Secret")
}

/// Asserts that every component trusts every other; returns the CA bundle.
async fn assert_in_order(server: &ApiServer) -> String {
    let before = server.get(CA);
    let secrets = Secrets::new(server.client(), "jobwarden");
    let rotation = secrets.rotation(now(), terms(Lifetimes::default())).await.expect("an authority");
    assert_eq!(server.get(CA), before, "the authority is unchanged");
    for (secret, service) in [(WEBHOOK, "jobwarden-webhook"), (REAPER, "jobwarden-reaper")] {
        let leaf = Leaf::read(&contents(&server.get(secret))).expect("a leaf");
        leaf.check(&rotation.current, &service_name(service, "jobwarden"), now()).expect("a valid leaf");
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
async fn the_first_pass_makes_everything_and_the_second_nothing() {
    let server = installed();
    let Replica { mut controller, identity, reaper } = replica(&server);
    controller.reconcile(now()).await.expect("a pass");
    let ca = assert_in_order(&server).await;
    assert!(identity.not_after().is_some());
    let endpoint = reaper.borrow().clone().expect("the endpoint is known");
    assert_eq!((endpoint.address(), endpoint.ca()), ("10.96.0.7:8444", ca.as_str()));
    assert_eq!(server.writes(), 5);
    controller.reconcile(now()).await.expect("another pass");
    assert_eq!(server.writes(), 0);
}

#[tokio::test]
async fn two_replicas_that_start_together_agree() {
    let server = installed();
    let (mut one, mut other) = (replica(&server), replica(&server));
    let passes = tokio::join!(one.controller.reconcile(now()), other.controller.reconcile(now()));
    passes.0.expect("a pass");
    passes.1.expect("a pass");
    assert_in_order(&server).await;
    assert_eq!(*one.reaper.borrow(), *other.reaper.borrow());
}

#[rstest]
#[case::authority_deleted(CA, "secret generic jobwarden-ca")]
#[case::leaf_deleted(WEBHOOK, "secret generic jobwarden-webhook-tls")]
#[case::reapers_leaf_deleted(REAPER, "secret generic jobwarden-reaper-tls")]
#[case::endpoint_deleted(ENDPOINT, "configmap jobwarden-reaper-endpoint")]
#[tokio::test]
async fn a_deleted_object_is_reported_and_filled_once_it_exists_again(#[case] path: &str, #[case] remedy: &str) {
    let server = installed();
    let Replica { mut controller, identity, .. } = replica(&server);
    controller.reconcile(now()).await.expect("a pass");
    server.delete(path);
    server.writes();
    let error = controller.reconcile(now()).await.expect_err("it is missing").to_string();
    assert!(error.ends_with(&format!("kubectl -n jobwarden create {remedy}")), "{error}");
    assert_eq!(server.writes(), 0);
    assert!(identity.not_after().is_some(), "it still serves");
    server.put(path, json!({"metadata": {"name": path.rsplit('/').next()}}));
    controller.reconcile(now()).await.expect("another pass");
    assert_in_order(&server).await;
}

/// As `helm upgrade --force` leaves it, or somebody who wants a new certificate.
#[rstest]
#[case::authority(CA, json!(null))]
#[case::leaf(WEBHOOK, json!(null))]
#[case::reapers_leaf(REAPER, json!(null))]
#[case::endpoint(ENDPOINT, json!(null))]
#[case::authority_renewed_by_hand(CA, json!({"tls.crt": ""}))]
#[case::leaf_renewed_by_hand(REAPER, json!({"tls.crt": ""}))]
#[tokio::test]
async fn an_object_that_was_emptied_is_filled_and_stays_the_charts(#[case] path: &str, #[case] data: Value) {
    let server = installed();
    let Replica { mut controller, .. } = replica(&server);
    controller.reconcile(now()).await.expect("a pass");
    let before = server.get(path);
    let mut emptied = empty(path);
    emptied["data"] = data;
    server.put(path, emptied);
    controller.reconcile(now()).await.expect("another pass");
    assert_in_order(&server).await;
    let after = server.get(path);
    assert_eq!(before["data"] == after["data"], path == ENDPOINT, "a new certificate, the same endpoint");
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);
}

/// Certificates do not wait for the agents' `ConfigMap`.
#[tokio::test]
async fn a_leaf_is_renewed_although_the_endpoint_cannot_be_published() {
    let server = installed();
    let Replica { mut controller, reaper, .. } = replica(&server);
    controller.reconcile(now() - 61 * DAY).await.expect("a pass");
    let leaf = server.get(WEBHOOK);
    server.delete(ENDPOINT);
    controller.reconcile(now()).await.expect_err("the ConfigMap is missing");
    assert_ne!(server.get(WEBHOOK), leaf);
    assert!(reaper.borrow().is_some(), "sidecars get the endpoint all the same");
}

#[rstest]
#[case::bundle_cleared(CONFIGURATION, "/webhooks/1/clientConfig/caBundle", json!(""))]
#[case::endpoint_changed(ENDPOINT, "/data/address", json!("10.0.0.1:1"))]
#[case::leaf_broken(REAPER, "/data/tls.crt", json!("AAAA"))]
#[case::key_lost(WEBHOOK, "/data/tls.key", json!(""))]
#[tokio::test]
async fn a_corrupt_object_is_repaired(#[case] path: &str, #[case] pointer: &str, #[case] value: Value) {
    let server = installed();
    let Replica { mut controller, .. } = replica(&server);
    controller.reconcile(now()).await.expect("a pass");
    let ca = assert_in_order(&server).await;
    let mut object = server.get(path);
    *object.pointer_mut(pointer).expect("it is there") = value;
    server.put(path, object);
    controller.reconcile(now()).await.expect("another pass");
    assert_eq!(assert_in_order(&server).await, ca, "the authority stays");
}

#[tokio::test]
async fn a_leaf_is_renewed_before_it_expires() {
    let server = installed();
    let Replica { mut controller, .. } = replica(&server);
    controller.reconcile(now() - 61 * DAY).await.expect("a pass");
    let (ca, leaf) = (server.get(CA), server.get(WEBHOOK));
    controller.reconcile(now()).await.expect("another pass");
    assert_in_order(&server).await;
    assert_eq!(server.get(CA), ca);
    assert_ne!(server.get(WEBHOOK), leaf);
}

#[rstest]
#[case::none(SERVICE, None)]
#[case::headless(SERVICE, Some(json!({"metadata": {"name": "jobwarden-reaper"}, "spec": {"clusterIP": "None"}})))]
#[case::no_configuration(CONFIGURATION, None)]
#[tokio::test]
async fn a_missing_object_of_the_installation_is_waited_for(#[case] path: &str, #[case] instead: Option<Value>) {
    let server = installed();
    let good = server.get(path);
    match &instead {
        Some(object) => server.put(path, object.clone()),
        None => server.delete(path),
    }
    let Replica { mut controller, .. } = replica(&server);
    let error = controller.reconcile(now()).await.expect_err("something is missing");
    match instead {
        None => assert!(matches!(error, CertificateError::Missing { .. }), "{error}"),
        Some(_) => assert!(matches!(error, CertificateError::NoClusterIp(_)), "{error}"),
    }
    server.put(path, good);
    controller.reconcile(now()).await.expect("another pass");
    assert_in_order(&server).await;
}

#[tokio::test(start_paused = true)]
async fn the_webhook_becomes_ready_once_everything_exists() {
    let server = installed();
    let service = server.get(SERVICE);
    server.delete(SERVICE);
    let readiness = Readiness::new();
    let gate = readiness.condition("certificates");
    let controller = controller(&server, Lifetimes::default(), ServerIdentity::new(), watch::channel(None).0, gate);
    let shutdown = Shutdown::manual();
    let running = tokio::spawn(controller.run(shutdown.clone()));
    let until = async |condition: fn(&[String]) -> bool| {
        // Time is paused: this advances as soon as nothing else can run.
        let satisfied = async {
            while !condition(&readiness.unready()) {
                sleep(Duration::from_secs(1)).await;
            }
        };
        timeout(Duration::from_mins(5), satisfied).await.expect("the condition becomes true");
    };
    until(|unready| unready.iter().any(|reason| reason.contains("Service jobwarden/jobwarden-reaper"))).await;
    server.put(SERVICE, service);
    until(<[String]>::is_empty).await;
    shutdown.trigger();
    running.await.expect("ends without a panic");
}

/// Asserts that a client that trusts `bundle` accepts the served certificate.
fn assert_trusted(server: &ApiServer, secret: &str, service: &str, bundle: &str, now: SystemTime) {
    let leaf = Leaf::read(&contents(&server.get(secret))).expect("a leaf");
    if let Err(error) = leaf.serves(bundle, &service_name(service, "jobwarden"), now) {
        panic!("{service} is not trusted {:?} after the start: {error}", now.duration_since(self::now()));
    }
}

fn live_bundle(server: &ApiServer) -> String {
    let bundle = server.get(CONFIGURATION)["webhooks"][1]["clientConfig"]["caBundle"].clone();
    let bytes: ByteString = serde_json::from_value(bundle).expect("base64");
    String::from_utf8(bytes.0).expect("PEM")
}

#[tokio::test]
async fn clients_trust_the_served_certificates_throughout_rotations() {
    let lifetimes = Lifetimes { authority: Duration::from_secs(90), leaf: Duration::from_mins(1) };
    let server = installed();
    let (mut one, mut other) = (replica_with(&server, lifetimes), replica_with(&server, lifetimes));
    one.controller.reconcile(now()).await.expect("a pass");
    other.controller.reconcile(now()).await.expect("a pass");
    // A sidecar that receives every bundle, and one that keeps an outdated bundle for a while.
    let (mut updated, mut outdated) = (live_bundle(&server), (live_bundle(&server), now()));
    let mut authorities = vec![contents(&server.get(CA))["tls.crt"].clone()];
    for second in 1..360_u64 {
        let time = now() + Duration::from_secs(second);
        // Each replica reconciles every two seconds, and one of them is down now and then.
        if second % 2 == 0 {
            one.controller.reconcile(time).await.expect("a pass");
        } else if second % 60 < 40 {
            other.controller.reconcile(time).await.expect("a pass");
        }
        let live = live_bundle(&server);
        for (secret, service) in [(WEBHOOK, "jobwarden-webhook"), (REAPER, "jobwarden-reaper")] {
            for bundle in [&live, &updated, &outdated.0] {
                assert_trusted(&server, secret, service, bundle, time);
            }
        }
        if second % 5 == 0 {
            updated.clone_from(&live);
        }
        let current = contents(&server.get(CA))["tls.crt"].clone();
        if authorities.last() != Some(&current) {
            authorities.push(current);
        }
        // By then the newest authority in the outdated bundle may be close to its expiry.
        if time.duration_since(outdated.1).expect("later") >= Duration::from_secs(25) {
            outdated = (live, time);
        }
    }
    assert!(authorities.len() >= 5, "{} authorities in six minutes", authorities.len());
}

#[tokio::test]
async fn an_authority_that_has_expired_is_replaced() {
    let server = installed();
    let Replica { mut controller, .. } = replica(&server);
    controller.reconcile(now() - 4000 * DAY).await.expect("a pass");
    controller.reconcile(now()).await.expect("another pass");
    assert_in_order(&server).await;
}

#[tokio::test]
async fn a_webhook_that_returns_at_the_last_moment_keeps_the_announced_authority() {
    let server = installed();
    let Replica { mut controller, .. } = replica(&server);
    let end = now() + Lifetimes::default().authority;
    controller.reconcile(now()).await.expect("a pass");
    controller.reconcile(end - Duration::from_secs(20)).await.expect("the next authority is announced");
    let announced = live_bundle(&server);
    controller.reconcile(end + DAY).await.expect("another pass");
    assert!(announced.contains(&live_bundle(&server)), "clients know the authority that signs now");
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_pass_fails_reports_that_the_api_server_distrusts_it() {
    let server = installed();
    let readiness = Readiness::new();
    let gate = readiness.condition("certificates");
    let mut controller = controller(&server, Lifetimes::default(), ServerIdentity::new(), watch::channel(None).0, gate);
    controller.reconcile(now()).await.expect("a pass");
    assert!(controller.distrust(now()).await.is_none());
    let mut object = server.get(CONFIGURATION);
    object["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
    server.put(CONFIGURATION, object);
    // Reconciliation fails before it reaches the caBundle.
    server.delete(CA);
    controller.reconcile(now()).await.expect_err("there is no Secret for the authority");
    let error = controller.distrust(now()).await.expect("the caBundle is empty");
    assert!(
        matches!(&error, CertificateError::Distrusted { webhook, .. } if webhook == "jobs.jobwarden.io"),
        "{error}"
    );
}

#[tokio::test]
async fn external_certificates_are_served_and_never_written() {
    let server = installed();
    let made = Rotation::begin(now(), terms(Lifetimes::default())).expect("made");
    for (path, name) in [(WEBHOOK, "jobwarden-webhook"), (REAPER, "jobwarden-reaper")] {
        let name = service_name(name, "jobwarden");
        let leaf = leaf::make(&made.current, None, &name, Lifetimes::default(), now());
        server.put(path, json!({"metadata": {"name": name}, "data": leaf.expect("made").contents(&made.bundle())}));
    }
    let gate = Readiness::new().condition("certificates");
    let (identity, reaper) = (ServerIdentity::new(), watch::channel(None).0);
    let namespace = "jobwarden".to_owned();
    let mut controller =
        Controller::new(server.client(), namespace, Source::External, identity, reaper, gate, Metrics::default());
    let error = controller.reconcile(now()).await.expect_err("the caBundle is empty");
    assert!(matches!(error, CertificateError::Distrusted { .. }), "{error}");
    assert_eq!(server.writes(), 0);
    let mut object = server.get(CONFIGURATION);
    for index in [0, 1] {
        let bundle = ByteString(made.bundle().into_bytes());
        object["webhooks"][index]["clientConfig"]["caBundle"] = serde_json::to_value(bundle).expect("base64");
    }
    server.put(CONFIGURATION, object);
    controller.reconcile(now()).await.expect("a pass");
    assert_eq!(server.writes(), 1, "the endpoint is published");
    controller.reconcile(now()).await.expect("another pass");
    assert_eq!(server.writes(), 0);
}
