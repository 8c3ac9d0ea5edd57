//! Apache Artemis over AMQP 1.0.

use std::{fs, path::PathBuf, time::Duration};

use fe2o3_amqp::{
    Connection, Receiver, Session,
    types::{
        messaging::Body,
        primitives::{SimpleValue, Value},
    },
};
use jobwarden_reaper::deliver::{AmqpError, AmqpSink, BodySection, BrokerSettings, Fault};

use crate::{
    artemis_server::{ArtemisServer, PASSWORD, QUEUE, USER},
    logs,
    messages::{IN_BODY, message},
    ort_reader::{Source, read_all},
    proxy::Proxy,
    storm::Storm,
};

const TIMEOUT: Duration = Duration::from_secs(3);

fn credentials(server: &ArtemisServer, password: &str) -> PathBuf {
    let path = server.path("credentials");
    fs::write(&path, format!("username={USER}\npassword={password}\n")).expect("written");
    path
}

fn settings(server: &ArtemisServer, port: u16) -> BrokerSettings {
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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Java and Maven; `cargo xtask test` runs it"]
async fn every_message_arrives_through_restarts_and_a_dead_connection() {
    logs::record();
    let mut server = ArtemisServer::start();
    let proxy = Proxy::start(server.port).await;
    let mut storm = Storm::start(AmqpSink::new(settings(&server, proxy.port)).expect("valid"), 300);

    storm.release(100);
    storm.acknowledged(10).await;
    server.restart();
    storm.acknowledged(100).await;

    proxy.freeze();
    storm.release(100);
    storm.error(|error| matches!(error, AmqpError::SettleTimeout { .. })).await;
    proxy.thaw();
    storm.acknowledged(200).await;

    storm.release(100);
    storm.acknowledged(210).await;
    server.restart();
    storm.acknowledged(300).await;

    let failed = storm.failures();
    // The reader accepts only strings in the value section, and a `runId` that is a long.
    let source = Source {
        transport: "activeMQ",
        uri: format!("amqp://127.0.0.1:{}", server.port),
        queue: QUEUE,
        user: USER,
        password: PASSWORD,
    };
    let twice = read_all(&source, 0..300);
    println!("artemis: 300 of 300 messages read, {twice} of them twice, attempts that failed on the way: {failed}");
    assert!(!logs::mention(IN_BODY) && !logs::mention(PASSWORD), "a body or a password was logged");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Java and Maven; `cargo xtask test` runs it"]
async fn a_missing_queue_and_wrong_credentials_are_faults_of_the_sink_until_they_are_corrected() {
    logs::record();
    let server = ArtemisServer::start();
    let missing = BrokerSettings { queue: "notifier_queue".to_owned(), ..settings(&server, server.port) };
    let error = AmqpSink::new(missing).expect("valid").send(&message(1)).await.expect_err("no such queue");
    assert!(matches!(error, AmqpError::NoQueue { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Sink);

    let sink = AmqpSink::new(settings(&server, server.port)).expect("valid");
    credentials(&server, "Stachelbeere");
    let error = sink.send(&message(1)).await.expect_err("a wrong password");
    assert!(matches!(error, AmqpError::Login { .. }), "{error}");
    assert!(!error.to_string().contains("Stachelbeere"), "{error}");
    let anonymous = BrokerSettings { credentials_file: None, ..settings(&server, server.port) };
    let error = AmqpSink::new(anonymous).expect("valid").send(&message(1)).await.expect_err("nobody");
    assert_eq!(error.fault(), Fault::Sink, "{error}");

    credentials(&server, PASSWORD);
    sink.send(&message(1)).await.expect("the file was read anew");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Java and Maven; `cargo xtask test` runs it"]
async fn the_body_goes_to_the_section_of_the_settings() {
    let server = ArtemisServer::start();
    for section in [BodySection::Value, BodySection::Data] {
        let settings = BrokerSettings { body: Some(section), ..settings(&server, server.port) };
        AmqpSink::new(settings).expect("valid").send(&message(7)).await.expect("accepted");
    }
    let url = format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{}", server.port);
    let mut connection = Connection::open("reader", url.as_str()).await.expect("connected");
    let mut session = Session::begin(&mut connection).await.expect("a session");
    let mut receiver = Receiver::attach(&mut session, "reader", QUEUE).await.expect("attached");
    let expected = message(7).body;
    for section in [BodySection::Value, BodySection::Data] {
        let delivery = receiver.recv::<Body<Value>>().await.expect("a message");
        receiver.accept(&delivery).await.expect("accepted");
        let received = delivery.into_message();
        let properties = received.application_properties.expect("application properties").0;
        assert_eq!(properties.get("runId"), Some(&SimpleValue::Long(1_000_000_000_007)));
        assert!(received.header.is_some_and(|header| header.durable));
        match (section, received.body) {
            (BodySection::Value, Body::Value(value)) => {
                let text = String::from_utf8(expected.to_vec()).expect("JSON");
                assert_eq!(value.0, Value::String(text));
            }
            (BodySection::Data, Body::Data(data)) => {
                let bytes: Vec<u8> = data.into_iter().flat_map(|data| data.0.into_vec()).collect();
                assert_eq!(bytes, expected.to_vec());
            }
            (section, body) => panic!("{section:?}: {body:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Java and Maven; `cargo xtask test` runs it"]
async fn tls_needs_the_ca_and_the_name_of_the_broker() {
    let server = ArtemisServer::start();
    let settings = |host: &str| BrokerSettings {
        url: format!("amqps://{host}:{}", server.tls_port),
        ca_file: Some(server.path("ca.pem")),
        ..settings(&server, server.port)
    };
    let sink = AmqpSink::new(settings("localhost")).expect("valid");
    sink.send(&message(1)).await.expect("a certificate of the CA, for this name");
    let error = AmqpSink::new(settings("127.0.0.1")).expect("valid").send(&message(1)).await;
    let error = error.expect_err("a certificate for another name");
    let text = jobwarden_serve::logs::with_causes(&error);
    assert!(text.contains("check caFile and the names"), "{text}");
}
