use std::{fs, time::Duration};

use clap::Parser;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use jobwarden_serve::reload::CONFIG;
use kube::client::Body;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::mpsc;

use super::*;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: SettingsArgs,
}

fn args(path: &Path) -> SettingsArgs {
    Flags::parse_from(["test", "--sidecar-image=i", &format!("--config={}", path.display())]).settings
}

/// An API server that accepts every Event and sends it to the test.
fn api_server() -> (Client, mpsc::UnboundedReceiver<Value>) {
    let (sender, events) = mpsc::unbounded_channel();
    let service = tower::service_fn(move |request: Request<Body>| {
        let sender = sender.clone();
        async move {
            let body = request.into_body().collect().await.expect("a body in memory").to_bytes();
            let event = serde_json::from_slice(&body).expect("an Event in JSON");
            sender.send(event).expect("the test receives");
            Ok::<_, kube::Error>(Response::new(Full::new(body)))
        }
    });
    (Client::new(service, "default"), events)
}

fn metrics_of(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("encodes");
    text
}

/// Replaces the file atomically.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(new, path).expect("renamed");
}

#[tokio::test(start_paused = true)]
async fn an_invalid_configuration_is_rejected_and_the_old_one_stays_in_effect() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    fs::write(&path, "sidecar: {namespaces: {work: {memory: 32Mi}}}").expect("written");
    let (configuration, settings) = Configuration::load(args(&path)).expect("a valid configuration");
    let (sender, mut applying) = watch::channel(Arc::new(settings));
    let (client, mut events) = api_server();
    let mut registry = Registry::default();
    let (metrics, shutdown) = (Metrics::register(&mut registry, CONFIG), Shutdown::manual());
    let recorder = EventRecorder::new(client, "jobwarden");
    let following = tokio::spawn(configuration.follow(sender, metrics, recorder, shutdown.clone()));

    replace(&path, "sidecar: {namespaces: {work: {memory: 1Mi}}}");
    let event = events.recv().await.expect("an Event");
    assert_eq!((&event["reason"], &event["type"]), (&"ConfigRejected".into(), &"Warning".into()));
    assert!(event["note"].as_str().is_some_and(|note| note.contains("1Mi")), "{event}");
    assert_eq!(event["regarding"]["name"], "jobwarden-webhook");
    assert!(!applying.has_changed().expect("the sender is alive"));
    let text = metrics_of(&registry);
    assert!(text.contains("jobwarden_config_last_reload_successful 0"), "{text}");
    assert!(text.contains("jobwarden_config_reloads_total{result=\"rejected\"} 1"), "{text}");

    replace(&path, "sidecar: {namespaces: {work: {memory: 64Mi}}}");
    assert_eq!(events.recv().await.expect("an Event")["reason"], "ConfigReloaded");
    let size = applying.borrow_and_update().sidecar.namespaces["work"].memory.clone();
    assert_eq!(size.expect("a size is set").as_str(), "64Mi");
    assert!(metrics_of(&registry).contains("jobwarden_config_last_reload_successful 1"));

    shutdown.trigger();
    tokio::time::timeout(Duration::from_mins(1), following).await.expect("ends").expect("without a panic");
}

#[test]
fn an_invalid_configuration_prevents_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    assert!(matches!(Configuration::load(args(&path)).map(drop), Err(LoadError::Read { .. })));
    fs::write(&path, "identity: [").expect("written");
    assert!(matches!(Configuration::load(args(&path)).map(drop), Err(LoadError::Parse { .. })));
}
