//! RabbitMQ over its own protocol.

use std::{fs, path::PathBuf, time::Duration};

use jobwarden_reaper::deliver::{BrokerSettings, Fault, RabbitMqError, RabbitMqSink};

use crate::{
    logs,
    messages::{IN_BODY, message},
    ort_reader::{Source, read_all},
    process::{threads, wait_until},
    proxy::Proxy,
    rabbitmq_server::{PASSWORD, QUEUE, RabbitMqServer, USER},
    storm::Storm,
};

const TIMEOUT: Duration = Duration::from_secs(3);

fn credentials(server: &RabbitMqServer, password: &str) -> PathBuf {
    let path = server.path("secrets.properties");
    fs::write(&path, format!("rabbitMqUser={USER}\nrabbitMqPassword={password}\n")).expect("written");
    path
}

fn settings(server: &RabbitMqServer, port: u16) -> BrokerSettings {
    BrokerSettings {
        url: format!("amqp://127.0.0.1:{port}"),
        queue: QUEUE.to_owned(),
        credentials_file: Some(credentials(server, PASSWORD)),
        credentials: None,
        ca_file: None,
        timeout: TIMEOUT,
        body: None,
    }
}

fn source(server: &RabbitMqServer) -> Source<'static> {
    Source {
        transport: "rabbitMQ",
        uri: format!("amqp://127.0.0.1:{}", server.port),
        queue: QUEUE,
        user: USER,
        password: PASSWORD,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ and Java; `cargo xtask test` runs it"]
async fn every_message_arrives_through_restarts_a_memory_alarm_and_a_dead_connection() {
    logs::record();
    let mut server = RabbitMqServer::start();
    let proxy = Proxy::start(server.port).await;
    let mut storm = Storm::start(RabbitMqSink::new(settings(&server, proxy.port)).expect("valid"), 300);

    storm.release(60);
    storm.acknowledged(10).await;
    server.restart();
    storm.acknowledged(60).await;

    server.memory_alarm(true);
    storm.release(80);
    let blocked = storm.error(|error| matches!(error, RabbitMqError::Blocked { .. })).await;
    assert!(blocked.contains("low on memory"), "{blocked}");
    server.memory_alarm(false);
    storm.acknowledged(140).await;

    proxy.freeze();
    storm.release(80);
    storm.error(|error| matches!(error, RabbitMqError::ConfirmTimeout { .. })).await;
    proxy.thaw();
    storm.acknowledged(220).await;

    storm.release(80);
    storm.acknowledged(230).await;
    server.restart();
    storm.acknowledged(300).await;

    // Each connection has a thread. Those that were given up have ended, the silent one too.
    wait_until("one thread for one connection", || threads("lapin-io-loop") <= 1);
    let failed = storm.failures();
    let twice = read_all(&source(&server), 0..300);
    println!("rabbitmq: 300 of 300 messages read, {twice} of them twice, attempts that failed on the way: {failed}");
    assert!(!logs::mention(IN_BODY) && !logs::mention(PASSWORD), "a body or a password was logged");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ; `cargo xtask test` runs it"]
async fn a_queue_that_does_not_exist_or_is_deleted_is_a_fault_of_the_sink() {
    logs::record();
    let server = RabbitMqServer::start();
    let missing = BrokerSettings { queue: "notifier_queue".to_owned(), ..settings(&server, server.port) };
    let error = RabbitMqSink::new(missing).expect("valid").send(&message(1)).await.expect_err("no such queue");
    assert_eq!(
        error.to_string(),
        "queue notifier_queue does not exist in virtual host /; create it, because jobwarden never does"
    );
    assert_eq!(error.fault(), Fault::Sink);

    let sink = RabbitMqSink::new(settings(&server, server.port)).expect("valid");
    sink.send(&message(2)).await.expect("the queue exists");
    server.delete_queue();
    // The broker acknowledges what it cannot route, after it has returned it.
    let error = sink.send(&message(3)).await.expect_err("nothing takes the message");
    assert!(matches!(&error, RabbitMqError::Returned { reply, .. } if reply.contains("NO_ROUTE")), "{error}");
    assert_eq!(error.fault(), Fault::Sink);
    // After a failure the connection is a new one, which is told that there is no queue.
    let error = sink.send(&message(3)).await.expect_err("still no queue");
    assert!(matches!(error, RabbitMqError::NoQueue { .. }), "{error}");
    assert!(!logs::mention(IN_BODY), "a body was logged");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ; `cargo xtask test` runs it"]
async fn rotated_credentials_are_used_by_the_next_connection() {
    logs::record();
    let mut server = RabbitMqServer::start();
    let sink = RabbitMqSink::new(settings(&server, server.port)).expect("valid");
    credentials(&server, "Stachelbeere");
    let error = sink.send(&message(1)).await.expect_err("a wrong password");
    assert!(matches!(error, RabbitMqError::Login { .. }), "{error}");
    let text = error_text(&error);
    assert!(text.contains("credentialsFile") && !text.contains("Stachelbeere"), "{text}");

    server.change_password("Stachelbeere");
    sink.send(&message(1)).await.expect("the file was read anew");
    // A running connection outlives the rotation, and the next one uses what the file holds then. Definitions reset the password.
    credentials(&server, PASSWORD);
    sink.send(&message(2)).await.expect("the connection is open");
    server.restart();
    let mut result = sink.send(&message(3)).await;
    if result.is_err() {
        // The end of the old connection was noticed by this attempt only.
        result = sink.send(&message(3)).await;
    }
    result.expect("logged in with the rotated password");
    assert!(!logs::mention("Stachelbeere"), "a password was logged");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ; `cargo xtask test` runs it"]
async fn tls_needs_the_ca_and_the_name_of_the_broker() {
    logs::record();
    let server = RabbitMqServer::start();
    let settings = |host: &str| BrokerSettings {
        url: format!("amqps://{host}:{}", server.tls_port),
        ca_file: Some(server.path("ca.pem")),
        ..settings(&server, server.port)
    };
    let sink = RabbitMqSink::new(settings("localhost")).expect("valid");
    sink.send(&message(1)).await.expect("a certificate of the CA, for this name");

    let other_name = RabbitMqSink::new(settings("127.0.0.1")).expect("valid");
    let error = other_name.send(&message(1)).await.expect_err("a certificate for another name");
    assert!(error_text(&error).contains("check caFile and the names"), "{}", error_text(&error));

    let other_ca = tempfile::tempdir().expect("a folder");
    let other_ca = crate::certificates::Certificates::issue(other_ca.path());
    let settings = BrokerSettings { ca_file: Some(other_ca.ca), ..settings("localhost") };
    let error = RabbitMqSink::new(settings).expect("valid").send(&message(1)).await.expect_err("another CA");
    assert_eq!(error.fault(), Fault::Sink);
}

fn error_text(error: &RabbitMqError) -> String {
    jobwarden_serve::logs::with_causes(error)
}
