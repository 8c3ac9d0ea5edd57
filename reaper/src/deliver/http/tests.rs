//! Against a receiver on the loopback.

mod examples;
mod receiver;
mod tls;

use std::{collections::HashMap, path::Path, time::Duration};

use jiff::SignedDuration;
use jobwarden_serve::tls::install_crypto_provider;
use rstest::rstest;
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{Instant, interval},
};

use self::receiver::{Received, Receiver};
use super::*;
use crate::deliver::message::Fault;

/// Shorter than a test may take, longer than a response over loopback takes.
const SHORT: Duration = Duration::from_millis(200);

fn settings(yaml: &str) -> HttpSettings {
    serde_saphyr::from_str(yaml).expect("valid settings")
}

fn settings_of(receiver: &Receiver) -> HttpSettings {
    settings(&format!("url: 'http://{}/hook?token=s3cret'", receiver.addr))
}

fn sink(settings: &HttpSettings) -> HttpSink {
    install_crypto_provider();
    HttpSink::new(settings).expect("a valid sink")
}

fn message() -> Message {
    Message {
        id: "1111.final".to_owned(),
        content_type: "application/cloudevents+json",
        event: Vec::new(),
        properties: Vec::new(),
        body: bytes::Bytes::from_static(b"{\"kind\":\"lost\"}"),
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("in range")
}

async fn send(settings: &HttpSettings) -> Result<(), HttpError> {
    sink(settings).send(&message(), now()).await
}

fn file(content: &str) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), content).expect("writable");
    file
}

fn path(file: &NamedTempFile) -> PathBuf {
    file.path().to_owned()
}

/// An error with its causes, as it is shown.
fn shown(error: &(dyn std::error::Error + 'static)) -> String {
    jobwarden_serve::logs::with_causes(error)
}

#[tokio::test]
async fn a_message_is_posted_with_its_id_and_the_time_of_the_attempt() {
    let mut receiver = Receiver::start(204).await;
    send(&settings_of(&receiver)).await.expect("acknowledged");
    let request = receiver.next().await;
    assert_eq!(request.body, message().body);
    assert_eq!(request.headers["content-type"], "application/cloudevents+json");
    assert_eq!((&*request.headers["webhook-id"], &*request.headers["webhook-timestamp"]), ("1111.final", "1800000000"));
    assert!(request.headers["user-agent"].starts_with("jobwarden/"));
    for absent in ["webhook-signature", "authorization"] {
        assert!(!request.headers.contains_key(absent), "{absent}");
    }
}

#[tokio::test]
async fn both_secrets_sign_and_are_read_for_every_attempt() {
    let mut receiver = Receiver::start(200).await;
    let secrets = file("whsec_AAAA\nwhsec_BBBB\n");
    let sink = sink(&HttpSettings { secret_file: Some(path(&secrets)), ..settings_of(&receiver) });
    for of_receiver in ["whsec_AAAA", "whsec_BBBB", "whsec_CCCC"] {
        if of_receiver == "whsec_CCCC" {
            std::fs::write(secrets.path(), "whsec_CCCC\n").expect("writable");
        }
        sink.send(&message(), now()).await.expect("acknowledged");
        let request = receiver.next().await;
        let header = |name| request.headers[name].as_str();
        let verified = Secrets::parse(of_receiver).expect("valid").verify(
            header(ID_HEADER),
            header(TIMESTAMP_HEADER),
            header(SIGNATURE_HEADER),
            &request.body,
            now(),
        );
        assert_eq!(verified, Ok(()), "{of_receiver}");
    }
}

/// The official library of Standard Webhooks for Rust; [`examples`] has those of other languages.
#[tokio::test]
async fn the_official_library_accepts_what_the_sink_sends_and_nothing_else() {
    const SECRETS: [&str; 2] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];
    let verify = |secret: &str, Received { headers, body }: &Received| {
        let headers: HashMap<_, _> = headers.clone().into_iter().collect();
        let headers = (&headers).try_into().expect("valid headers");
        standardwebhooks::Webhook::new(secret).expect("a secret").verify(body, &headers)
    };
    let mut receiver = Receiver::start(204).await;
    let secrets = file(&SECRETS.join("\n"));
    let sink = sink(&HttpSettings { secret_file: Some(path(&secrets)), ..settings_of(&receiver) });
    let now = Timestamp::now();
    for (age, expected) in [(0, None), (6, Some("signature timestamp too old")), (-6, Some("too far in future"))] {
        sink.send(&message(), now - SignedDuration::from_mins(age)).await.expect("acknowledged");
        let request = receiver.next().await;
        for secret in SECRETS {
            let error = verify(secret, &request).err().map(|error| error.to_string());
            assert_eq!(error.is_some(), expected.is_some(), "{age} min old: {error:?}");
            assert!(error.unwrap_or_default().contains(expected.unwrap_or_default()), "{age} min old");
        }
        verify("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &request).expect_err("another secret");
        let changed = Received { body: bytes::Bytes::from_static(b"{\"kind\":\"lust\"}"), ..request };
        verify(SECRETS[0], &changed).expect_err("a changed body");
    }
}

#[tokio::test]
async fn a_bearer_token_is_read_for_every_attempt() {
    let mut receiver = Receiver::start(200).await;
    let token = file("first\n");
    let sink = sink(&HttpSettings { bearer_token_file: Some(path(&token)), ..settings_of(&receiver) });
    for expected in ["first", "second"] {
        std::fs::write(token.path(), format!("{expected}\n")).expect("writable");
        sink.send(&message(), now()).await.expect("acknowledged");
        assert_eq!(receiver.next().await.headers["authorization"], format!("Bearer {expected}"));
    }
}

#[rstest]
#[case::secret_missing(|settings: &mut HttpSettings, _: &Path| settings.secret_file = Some("/nowhere/secret".into()), "cannot read the secret file /nowhere/secret")]
#[case::secret_invalid(|settings: &mut HttpSettings, file: &Path| settings.secret_file = Some(file.into()), "line 1 of the secret file is not whsec_<base64>")]
#[case::token_missing(|settings: &mut HttpSettings, _: &Path| settings.bearer_token_file = Some("/nowhere/token".into()), "cannot read the token file /nowhere/token")]
#[case::token_invalid(|settings: &mut HttpSettings, file: &Path| settings.bearer_token_file = Some(file.into()), "does not have one line of printable ASCII")]
#[tokio::test]
async fn without_a_valid_secret_or_token_nothing_is_sent(
    #[case] set: fn(&mut HttpSettings, &Path),
    #[case] expected: &str,
) {
    let mut receiver = Receiver::start(200).await;
    let (mut settings, two_lines) = (settings_of(&receiver), file("s3cret\nlines\n"));
    set(&mut settings, two_lines.path());
    let error = send(&settings).await.expect_err("not sent");
    assert!(shown(&error).contains(expected) && !shown(&error).contains("s3cret"), "{}", shown(&error));
    assert_eq!(error.fault(), Fault::Sink);
    assert!(receiver.is_empty());
}

#[tokio::test]
async fn custom_headers_are_added() {
    let mut receiver = Receiver::start(200).await;
    let added = settings("{url: 'http://a', headers: {X-Tenant: blue, Authorization: Basic dTpw}}").headers;
    send(&HttpSettings { headers: added, ..settings_of(&receiver) }).await.expect("acknowledged");
    let request = receiver.next().await;
    assert_eq!((&*request.headers["x-tenant"], &*request.headers["authorization"]), ("blue", "Basic dTpw"));
    assert_eq!(request.headers["content-type"], "application/cloudevents+json");
}

#[tokio::test]
async fn attributes_of_binary_mode_are_headers() {
    let mut receiver = Receiver::start(200).await;
    let event = vec![("specversion", "1.0".to_owned()), ("subject", "my jobs/größe\r\nx: y".to_owned())];
    let message = Message { content_type: "application/json", event, ..message() };
    sink(&settings_of(&receiver)).send(&message, now()).await.expect("acknowledged");
    let request = receiver.next().await;
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["ce-specversion"], "1.0");
    assert_eq!(request.headers["ce-subject"], "my%20jobs/gr%C3%B6%C3%9Fe%0D%0Ax:%20y");
    assert!(!request.headers.contains_key("x"));
}

#[rstest]
#[case(200, None)]
#[case(202, None)]
#[case(204, None)]
#[case(301, Some(Fault::Sink))]
#[case(304, Some(Fault::Sink))]
#[case(307, Some(Fault::Sink))]
#[case(400, Some(Fault::Message))]
#[case(401, Some(Fault::Sink))]
#[case(404, Some(Fault::Sink))]
#[case(408, Some(Fault::Sink))]
#[case(409, Some(Fault::Message))]
#[case(410, Some(Fault::Refusal))]
#[case(413, Some(Fault::Message))]
#[case(422, Some(Fault::Message))]
#[case(425, Some(Fault::Sink))]
#[case(429, Some(Fault::Sink))]
#[case(500, Some(Fault::Sink))]
#[case(503, Some(Fault::Sink))]
#[tokio::test]
async fn the_status_says_whether_other_messages_would_fail_too(#[case] status: u16, #[case] fault: Option<Fault>) {
    // A redirect leads to the receiver itself, which would show a second request.
    let mut receiver = Receiver::answering(Some((status, "location", "/other")), None).await;
    let result = send(&settings_of(&receiver)).await;
    assert_eq!(result.as_ref().err().map(HttpError::fault), fault, "{result:?}");
    receiver.next().await;
    assert!(receiver.is_empty(), "one attempt is one request");
    if let Err(error) = result {
        assert!(shown(&error).starts_with(&format!("the receiver responded with {status} ")), "{error}");
    }
}

#[rstest]
#[case::seconds(429, "7", Some(7))]
#[case::date(503, "Fri, 15 Jan 2027 08:01:00 GMT", Some(60))]
#[case::bounded(503, "999999", Some(900))]
#[case::of_a_message(413, "7", Some(7))]
#[case::invalid(503, "soon", None)]
#[tokio::test]
async fn the_receiver_may_ask_for_a_pause(
    #[case] status: u16,
    #[case] header: &'static str,
    #[case] expected: Option<u64>,
) {
    let receiver = Receiver::answering(Some((status, "retry-after", header)), None).await;
    let error = send(&settings_of(&receiver)).await.expect_err("not acknowledged");
    assert_eq!(error.retry_after(), expected.map(Duration::from_secs));
}

#[tokio::test]
async fn a_receiver_that_does_not_respond_hits_the_timeout() {
    let receiver = Receiver::answering(None, None).await;
    let error = send(&HttpSettings { timeout: SHORT, ..settings_of(&receiver) }).await.expect_err("no response");
    assert_eq!((error.fault(), error.retry_after()), (Fault::Sink, None));
    assert_eq!(shown(&error), "cannot send the request: error sending request: operation timed out");
}

/// Each byte would start a timeout of reads anew.
#[tokio::test]
async fn a_receiver_that_responds_a_byte_at_a_time_hits_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
    let url = format!("url: 'http://{}'", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("the sink connects");
        let mut pause = interval(SHORT / 20);
        for byte in b"HTTP/1.1 200 OK\r\nx-slow: ".iter().chain([b'x'; 10_000].iter()) {
            pause.tick().await;
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
    });
    let start = Instant::now();
    let error = send(&HttpSettings { timeout: SHORT, ..settings(&url) }).await.expect_err("no response");
    assert!(matches!(&error, HttpError::Send(error) if error.is_timeout()), "{}", shown(&error));
    assert!(start.elapsed() < 10 * SHORT, "{:?}", start.elapsed());
}

/// What a receiver sends after its status does not matter, however long it takes or is.
#[tokio::test]
async fn an_acknowledgement_with_an_endless_body_is_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
    let url = format!("url: 'http://{}'", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("the sink connects");
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("the sink reads");
        // Until the sink closes the connection.
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    send(&settings(&url)).await.expect("acknowledged");
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_hits_the_connect_timeout() {
    // The kernel accepts the connection.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
    let url = format!("url: 'https://{}'", listener.local_addr().expect("it is bound"));
    let authority = tls::Authority::new();
    let settings = HttpSettings {
        ca_file: Some(path(&authority.ca)),
        connect_timeout: SHORT,
        timeout: 100 * SHORT,
        ..settings(&url)
    };
    let start = Instant::now();
    let error = send(&settings).await.expect_err("no connection");
    assert!(start.elapsed() < 50 * SHORT, "{:?}", start.elapsed());
    assert!(matches!(&error, HttpError::Send(error) if error.is_connect()), "{}", shown(&error));
    assert_eq!(error.fault(), Fault::Sink);
}

#[tokio::test]
async fn a_connection_error_is_of_the_sink_and_does_not_show_the_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
    let url = format!("url: 'http://{}/hook?token=s3cret'", listener.local_addr().expect("it is bound"));
    drop(listener);
    let error = send(&settings(&url)).await.expect_err("nobody listens");
    assert_eq!(error.fault(), Fault::Sink);
    assert!(shown(&error).starts_with("cannot send the request:") && !shown(&error).contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_message_that_makes_no_request_is_the_fault_of_the_message() {
    let mut receiver = Receiver::start(200).await;
    let message = Message { id: "a\nb".to_owned(), ..message() };
    let error = sink(&settings_of(&receiver)).send(&message, now()).await.expect_err("not an ID");
    assert_eq!(error.fault(), Fault::Message);
    assert!(receiver.is_empty());
}
