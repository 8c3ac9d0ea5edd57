use std::time::Instant;

use bytes::Bytes;
use tokio::net::TcpListener;

use super::*;
use crate::deliver::{broker::BodySection, message::Fault};

fn settings(url: String) -> BrokerSettings {
    BrokerSettings {
        url,
        queue: "orchestrator_queue".to_owned(),
        credentials_file: None,
        credentials: None,
        ca_file: None,
        timeout: Duration::from_millis(200),
        body: None,
    }
}

fn message() -> Message {
    let (event, properties) = (Vec::new(), Vec::new());
    Message { id: "1".to_owned(), content_type: "application/json", event, properties, body: Bytes::new() }
}

#[test]
fn a_section_of_the_other_protocol_is_rejected() {
    let settings = BrokerSettings { body: Some(BodySection::Data), ..settings("amqp://b".to_owned()) };
    assert_eq!(RabbitMqSink::new(settings).err(), Some(SettingsError::Body));
}

#[tokio::test]
async fn a_broker_that_accepts_connections_and_says_nothing_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("amqp://{}", listener.local_addr().expect("an address"));
    let sink = RabbitMqSink::new(settings(url)).expect("valid");
    let error = sink.send(&message()).await.expect_err("no broker");
    assert!(matches!(error, RabbitMqError::ConnectTimeout { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Sink);
}

#[tokio::test]
async fn sends_that_wait_for_one_connection_fail_together() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("amqp://{}", listener.local_addr().expect("an address"));
    let sink = RabbitMqSink::new(settings(url)).expect("valid");
    let started = Instant::now();
    let message = message();
    let sent = futures::future::join_all((0..CONCURRENT_SENDS).map(|_| sink.send(&message))).await;
    assert!(sent.iter().all(Result::is_err));
    // One after another they would take 1.6 s.
    assert!(started.elapsed() < Duration::from_millis(800), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_named_in_the_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let sink = RabbitMqSink::new(settings(format!("amqp://{address}"))).expect("valid");
    let error = sink.send(&message()).await.expect_err("no broker");
    let text = jobwarden_serve::logs::with_causes(&error);
    assert!(text.contains("queue orchestrator_queue") && text.contains(&address.to_string()), "{text}");
}
