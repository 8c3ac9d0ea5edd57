//! The receivers in `examples/receivers`, which use the official libraries of Standard Webhooks and of `CloudEvents`.
//!
//! The libraries are installed by their package managers, so these tests are ignored by default. `cargo xtask test` runs them:
//! `cargo test -p jobwarden-reaper --lib http::tests::examples -- --ignored`.

use std::process::Stdio;

use http::StatusCode;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
};

use super::*;
use crate::outbox::{cloud_event, object::tests::mk_outcome};

/// The secret of the receivers.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
/// Another one.
const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/receivers");

/// A running receiver. It is killed when this is dropped.
struct Example {
    url: String,
    printed: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Example {
    /// Starts `program`, which takes a file with secrets and a port.
    async fn start(mut program: Command) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").await.expect("loopback").local_addr().expect("bound").port();
        let secret = file(SECRET);
        program.arg(secret.path()).arg(port.to_string()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = program.spawn().expect("the example starts");
        let printed = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut pause = interval(Duration::from_millis(50));
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert_eq!(process.try_wait().expect("a child"), None, "the example has ended");
            pause.tick().await;
        }
        Self { url: format!("http://127.0.0.1:{port}/"), printed, _process: process }
    }

    /// A sink with these secrets that sends to the example.
    fn sink(&self, secrets: &NamedTempFile) -> HttpSink {
        sink(&HttpSettings { secret_file: Some(path(secrets)), ..settings(&format!("url: '{}'", self.url)) })
    }

    async fn next_line(&mut self) -> String {
        self.printed.next_line().await.expect("UTF-8").expect("the example runs")
    }
}

async fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status().await.expect("the program exists");
    assert!(status.success(), "{command:?}");
}

async fn python(folder: &Path) -> Example {
    let example = format!("{EXAMPLES}/python");
    run(Command::new("python3").args(["-m", "venv"]).arg(folder)).await;
    let install = ["-m", "pip", "install", "--quiet", "-r"];
    let python = folder.join("bin/python");
    run(Command::new(&python).args(install).arg(format!("{example}/requirements.txt"))).await;
    let mut program = Command::new(&python);
    program.arg(format!("{example}/receiver.py"));
    Example::start(program).await
}

async fn go(folder: &Path) -> Example {
    let binary = folder.join("receiver");
    run(Command::new("go").args(["build", "-o"]).arg(&binary).arg(".").current_dir(format!("{EXAMPLES}/go"))).await;
    Example::start(Command::new(&binary)).await
}

/// An outcome in both modes.
fn messages() -> [Message; 2] {
    let event = cloud_event(&mk_outcome());
    let structured = Message { body: serde_json::to_vec(&event).expect("plain data").into(), ..message() };
    let attributes = vec![
        ("specversion", event.specversion),
        ("id", "2222.final".to_owned()),
        ("source", event.source),
        ("type", event.event_type),
        ("subject", format!("{} größe", event.subject)),
        ("time", event.time),
    ];
    let binary = Message {
        id: "2222.final".to_owned(),
        content_type: "application/json",
        event: attributes,
        body: serde_json::to_vec(&event.data).expect("plain data").into(),
        ..message()
    };
    [structured, binary]
}

async fn is_refused(sink: &HttpSink, message: &Message, now: Timestamp) -> bool {
    let result = sink.send(message, now).await;
    matches!(result, Err(HttpError::Status { status: StatusCode::UNAUTHORIZED, .. }))
}

/// Posts `message` with another body than the signed one.
async fn post_changed(url: &str, message: &Message, now: Timestamp) -> StatusCode {
    let signature = Secrets::parse(SECRET).expect("valid").sign(&message.id, now, &message.body);
    let body = String::from_utf8(message.body.to_vec()).expect("UTF-8").replacen("lost", "lust", 1);
    let request = reqwest::Client::new().post(url).header(header::CONTENT_TYPE, message.content_type);
    let request = request.header(ID_HEADER, &message.id).header(TIMESTAMP_HEADER, now.as_second().to_string());
    request.header(SIGNATURE_HEADER, signature).body(body).send().await.expect("a response").status()
}

#[rstest]
#[case::python(true)]
#[case::go(false)]
#[tokio::test]
#[ignore = "installs the official libraries by pip and go; `cargo xtask test` runs it"]
async fn the_official_libraries_accept_what_the_sink_sends_and_nothing_else(#[case] is_python: bool) {
    install_crypto_provider();
    let folder = tempfile::tempdir().expect("a folder");
    let mut example = if is_python { python(folder.path()).await } else { go(folder.path()).await };
    let both = file(&format!("{OTHER}{SECRET}"));
    let (valid, now) = (example.sink(&both), Timestamp::now());
    for message in messages() {
        valid.send(&message, now).await.expect("acknowledged");
        let line = example.next_line().await;
        assert!(line.starts_with(&format!("{}: lost ort/analyzer-7: ", message.id)), "{line}");
        valid.send(&message, now).await.expect("acknowledged");
        let line = example.next_line().await;
        assert!(line.starts_with(&format!("{} again: lost ort/analyzer-7: ", message.id)), "{line}");

        let other = file(OTHER);
        assert!(is_refused(&example.sink(&other), &message, now).await, "another secret");
        let minutes = SignedDuration::from_mins(6);
        assert!(is_refused(&valid, &message, now - minutes).await, "an old timestamp");
        assert!(is_refused(&valid, &message, now + minutes).await, "a timestamp in the future");
        assert_eq!(post_changed(&example.url, &message, now).await, StatusCode::UNAUTHORIZED, "a changed body");
    }
}
