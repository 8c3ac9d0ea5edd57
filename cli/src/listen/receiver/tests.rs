use std::sync::Arc;

use http_body_util::BodyExt as _;
use rstest::rstest;
use serde_json::json;

use super::*;

/// What is printed, or an error after as many bytes.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe that nobody reads.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const SECRET: &str = "whsec_AAAA";

fn receiver(secret: Option<&str>, respond: u16) -> (Receiver, Printed) {
    let printed = Printed::default();
    let secrets = secret.map(|secret| Secrets::parse(secret).expect("valid"));
    let respond = StatusCode::from_u16(respond).expect("a status");
    let limits = Limits { max_body: 4096, ..Limits::few_clients() };
    let out = Box::new(printed.clone());
    (Receiver::new(secrets, respond, Output::Text, limits, out, Shutdown::manual()), printed)
}

/// A notification about the Job `job`.
fn request(id: &str, job: &str) -> Request<Full<Bytes>> {
    let data = json!({
        "kind": "lost", "namespace": "ort", "jobName": job, "jobUid": "1111", "reason": "NodeUnreachable",
        "message": "Gone.", "decidedBy": {"row": "P8", "rule": "no heartbeat"}, "evidence": [], "timeline": [],
    });
    let event = json!({"specversion": "1.0", "id": id, "source": "/s", "type": "io.jobwarden.job.lost", "data": data});
    let request = Request::post("/any/path").header(header::CONTENT_TYPE, "application/cloudevents+json");
    request.header(ID_HEADER, id).body(Full::new(Bytes::from(event.to_string()))).expect("a request")
}

/// The request with a signature of `secret` made at `at`.
async fn signed(request: Request<Full<Bytes>>, secret: &str, at: Timestamp) -> Request<Full<Bytes>> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await.expect("in memory").to_bytes();
    let id = head.headers[ID_HEADER].to_str().expect("ASCII").to_owned();
    let signature = Secrets::parse(secret).expect("valid").sign(&id, at, &body);
    head.headers.insert(TIMESTAMP_HEADER, HeaderValue::from(at.as_second()));
    head.headers.insert(SIGNATURE_HEADER, HeaderValue::try_from(signature).expect("ASCII"));
    Request::from_parts(head, Full::new(body))
}

async fn answer(receiver: &Receiver, request: Request<Full<Bytes>>) -> (u16, String) {
    let response = receiver.answer(request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("in memory").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("UTF-8"))
}

#[tokio::test]
async fn a_valid_signature_is_accepted_and_said_to_be_valid() {
    let (receiver, printed) = receiver(Some("whsec_BBBB\nwhsec_AAAA"), 200);
    let request = signed(request("1.final", "analyzer-7"), SECRET, Timestamp::now()).await;
    assert_eq!(answer(&receiver, request).await, (200, String::new()));
    let text = printed.text();
    assert!(text.contains("lost  ort/analyzer-7\n  NodeUnreachable: Gone.\n"), "{text}");
    assert!(text.contains("1.final, signature verified, structured"), "{text}");
}

#[tokio::test]
async fn what_is_not_signed_by_the_secret_is_refused_with_the_reason() {
    let (receiver, printed) = receiver(Some(SECRET), 200);
    let now = Timestamp::now();
    let old = now - jiff::SignedDuration::from_mins(6);
    let mut changed = signed(request("1.final", "a"), SECRET, now).await;
    *changed.body_mut() = request("1.final", "b").into_body();
    for (request, reason) in [
        (request("1.final", "a"), "the header webhook-timestamp is missing"),
        (signed(request("1.final", "a"), "whsec_CCCC", now).await, "no signature matches a secret"),
        (changed, "no signature matches a secret"),
        (signed(request("1.final", "a"), SECRET, old).await, "s old; at most 300 s are accepted"),
    ] {
        let (status, body) = answer(&receiver, request).await;
        assert!(status == 401 && body.contains(reason), "{status} {body}");
    }
    assert_eq!(printed.text(), "");
    assert_eq!(receiver.summary(), "received 0 notifications, 0 of them again; refused 4 requests");
}

#[tokio::test]
async fn without_a_secret_signatures_are_not_verified() {
    let (receiver, printed) = receiver(None, 200);
    answer(&receiver, request("1.final", "a")).await;
    answer(&receiver, signed(request("2.final", "a"), SECRET, Timestamp::now()).await).await;
    let text = printed.text();
    assert!(text.contains("1.final, unsigned") && text.contains("2.final, signature not verified"), "{text}");
}

#[tokio::test]
async fn a_notification_that_was_received_before_is_said_to_come_again() {
    let (receiver, printed) = receiver(None, 503);
    for job in ["a", "a", "b"] {
        assert_eq!(answer(&receiver, request("1.final", job)).await.0, 503);
    }
    let text = printed.text();
    assert!(text.contains("lost  ort/a\n  NodeUnreachable"), "{text}");
    assert!(text.contains("lost  ort/a, again (delivery 2, the same content)\n  id"), "{text}");
    assert!(text.contains("lost  ort/b, again (delivery 3) WITH ANOTHER CONTENT\n  NodeUnreachable"), "{text}");
    assert_eq!(receiver.summary(), "received 3 notifications, 2 of them again; refused 0 requests");
}

#[rstest]
#[case::method(Request::get("/"), "", 405, "notifications are sent with POST, not GET")]
#[case::too_large(Request::post("/"), &"x".repeat(4097), 413, "larger than 4096 bytes")]
#[case::no_json(Request::post("/").header("content-type", "application/cloudevents+json"), "{", 400, "not a JSON object")]
#[case::batch(Request::post("/").header("content-type", "application/cloudevents-batch+json"), "[]", 415, "not supported")]
#[tokio::test]
async fn what_is_no_notification_is_refused_with_the_reason(
    #[case] request: http::request::Builder,
    #[case] body: &str,
    #[case] status: u16,
    #[case] reason: &str,
) {
    let (receiver, printed) = receiver(None, 200);
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request");
    let answered = answer(&receiver, request).await;
    assert!(answered.0 == status && answered.1.contains(reason), "{answered:?}");
    assert_eq!(printed.text(), "");
}

#[tokio::test]
async fn what_cannot_be_printed_is_not_acknowledged_and_ends_the_program() {
    let shutdown = Shutdown::manual();
    let (limits, out) = (Limits::few_clients(), Box::new(Closed));
    let receiver = Receiver::new(None, StatusCode::OK, Output::Json, limits, out, shutdown.clone());
    assert_eq!(answer(&receiver, request("1.final", "a")).await.0, 503);
    assert!(shutdown.is_requested());
    assert_eq!(receiver.failure().map(|error| error.kind()), Some(io::ErrorKind::BrokenPipe));
}
