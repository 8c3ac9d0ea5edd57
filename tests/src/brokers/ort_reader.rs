//! The reader on the JVM, with the official clients, which reads a queue as ORT Server's orchestrator does.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use super::process::output;

/// The line of the reader for a message that it could read. One that it could not read is a line with the one key `refused`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Accepted {
    /// The message's ID.
    #[serde(rename = "accepted")]
    pub id: String,
    /// The trace ID of its properties.
    pub trace_id: String,
    /// The run ID of its properties.
    pub run_id: i64,
    /// Whether it survives a restart of the broker.
    pub persistent: bool,
    /// The object that it was deserialized to, as Kotlin prints it.
    pub message: String,
}

/// A queue of a broker, as the reader reaches it.
pub struct Source<'a> {
    /// The name of ORT's transport.
    pub transport: &'a str,
    /// Where the broker is.
    pub uri: String,
    /// The name of the queue.
    pub queue: &'a str,
    /// The user.
    pub user: &'a str,
    /// The password of the user.
    pub password: &'a str,
}

/// Whether the reader ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When the queue is empty.
    Empty,
    /// When it is killed.
    Killed,
}

/// The command that reads the queue and prints a line for each message. Compiles the reader if that has not been done.
pub fn command(source: &Source<'_>, until: Until) -> Command {
    let built = build();
    let mut java = Command::new("java");
    java.arg("-cp")
        .arg(format!("{0}/classes:{0}/lib/*", built.display()))
        .args(["ortreader.MainKt", source.transport])
        .args((until == Until::Killed).then_some("follow"))
        .envs([("BROKER_URI", source.uri.as_str()), ("BROKER_QUEUE", source.queue)])
        .envs([("BROKER_USER", source.user), ("BROKER_PASSWORD", source.password)]);
    java
}

fn build() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = tests.join("../target/ort-reader");
    output(Command::new(tests.join("ort-reader/build.sh")).arg(&built));
    built
}
