use bytes::Bytes;
use tokio::net::TcpListener;

use super::*;
use crate::deliver::message::Fault;

#[tokio::test]
async fn a_broker_that_accepts_connections_and_says_nothing_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let settings = BrokerSettings {
        url: format!("amqp://{}", listener.local_addr().expect("an address")),
        queue: "orchestrator_queue".to_owned(),
        credentials_file: None,
        credentials: None,
        ca_file: None,
        timeout: Duration::from_millis(200),
        body: None,
    };
    let sink = AmqpSink::new(settings).expect("valid");
    let (event, properties) = (Vec::new(), Vec::new());
    let message =
        Message { id: "1".to_owned(), content_type: "application/json", event, properties, body: Bytes::new() };
    let error = sink.send(&message).await.expect_err("no broker");
    assert!(matches!(error, AmqpError::ConnectTimeout { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Sink);
}
