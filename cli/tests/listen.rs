//! `jobwarden listen` as a process: what it prints, and how it ends.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
};

use jiff::Timestamp;
use jobwarden_serve::signature::Secrets;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::NamedTempFile;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
const BODY: &str = r#"{"specversion":"1.0","id":"1111.final","source":"/s","type":"t","data":{"answer":42}}"#;

/// A running `jobwarden listen`.
struct Listen {
    process: Child,
    stderr: BufReader<ChildStderr>,
    addr: String,
}

impl Listen {
    fn start(flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobwarden"));
        command.args(["listen", "--listen=127.0.0.1:0"]).args(flags).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the program starts");
        let mut stderr = BufReader::new(process.stderr.take().expect("piped"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("UTF-8");
        let addr = line.strip_prefix("listening on http://").and_then(|rest| rest.split_once('/'));
        let addr = addr.expect("the first line has the address").0.to_owned();
        Self { process, stderr, addr }
    }

    /// Posts a notification signed with `secret`, and returns the status line of the response.
    fn post(&self, secret: &str) -> String {
        let now = Timestamp::now();
        let signature = Secrets::parse(secret).expect("valid").sign("1111.final", now, BODY.as_bytes());
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/cloudevents+json\r\nwebhook-id: 1111.final\r\n\
             webhook-timestamp: {}\r\nwebhook-signature: {signature}\r\nContent-Length: {}\r\n\r\n{BODY}",
            self.addr,
            now.as_second(),
            BODY.len()
        );
        let mut stream = TcpStream::connect(&self.addr).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("it responds");
        response.lines().next().unwrap_or_default().to_owned()
    }

    fn interrupt(&self) {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGINT).expect("it runs");
    }

    /// Its standard output and standard error until its end, and its exit status.
    fn end(mut self) -> (String, String, ExitStatus) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        if let Some(mut pipe) = self.process.stdout.take() {
            pipe.read_to_string(&mut stdout).expect("UTF-8");
        }
        self.stderr.read_to_string(&mut stderr).expect("UTF-8");
        (stdout, stderr, self.process.wait().expect("it is a child"))
    }
}

fn secret() -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), SECRET).expect("writable");
    file
}

#[test]
fn notifications_are_verified_and_printed_until_ctrl_c() {
    let secret = secret();
    let listen = Listen::start(&["--secret-file", secret.path().to_str().expect("UTF-8")]);
    assert_eq!(listen.post(SECRET), "HTTP/1.1 200 OK");
    assert_eq!(listen.post("whsec_AAAA"), "HTTP/1.1 401 Unauthorized");
    assert_eq!(listen.post(SECRET), "HTTP/1.1 200 OK");
    listen.interrupt();
    let (stdout, stderr, status) = listen.end();
    assert!(status.success(), "{stderr}");
    assert_eq!(stdout.lines().count(), 5, "{stdout}");
    assert!(
        stdout.contains("  t, /s\n  data      {\"answer\":42}\n  id        1111.final, signature verified"),
        "{stdout}"
    );
    assert!(stdout.contains("  t, /s, again (delivery 2, the same content)\n"), "{stdout}");
    assert!(stderr.contains("refused with 401 Unauthorized: no signature matches a secret"), "{stderr}");
    assert!(stderr.ends_with("received 2 notifications, 1 of them again; refused 1 requests\n"), "{stderr}");
}

#[test]
fn the_response_is_the_one_that_was_asked_for() {
    let listen = Listen::start(&["--respond=503", "-o", "json"]);
    assert_eq!(listen.post(SECRET), "HTTP/1.1 503 Service Unavailable");
    listen.interrupt();
    let (stdout, stderr, status) = listen.end();
    assert!(status.success(), "{stderr}");
    let printed: serde_json::Value = serde_json::from_str(&stdout).expect("one line of JSON");
    assert_eq!((&printed["id"], &printed["signature"]), (&"1111.final".into(), &"notVerified".into()));
}

#[test]
fn it_ends_when_nobody_reads_what_it_prints() {
    let mut listen = Listen::start(&[]);
    drop(listen.process.stdout.take());
    assert_eq!(listen.post(SECRET), "HTTP/1.1 503 Service Unavailable");
    let (_, stderr, status) = listen.end();
    assert!(status.success(), "{stderr}");
}
