//! The orchestrator: a JVM that reads the queue as ORT Server does, for as long as the demo lasts.

use std::{process::Stdio, time::Instant};

use anyhow::{Context as _, bail};
use jobwarden_testbed::progress;
use jobwarden_tests::{
    brokers::ort_reader::{Accepted, Until, command},
    ort_server::broker::Broker,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
    task::spawn_blocking,
};

use super::setting::PATIENCE;

/// A message that arrived.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// The orchestrator could read it.
    Accepted(Accepted, Instant),
    /// It could not, and says why.
    Refused(String),
}

impl Message {
    pub(super) fn accepted(&self) -> Option<&Accepted> {
        match self {
            Self::Accepted(accepted, _) => Some(accepted),
            Self::Refused(_) => None,
        }
    }

    pub(super) fn refused(&self) -> Option<&str> {
        match self {
            Self::Accepted(..) => None,
            Self::Refused(why) => Some(why),
        }
    }
}

/// The running reader. It is killed when this is dropped.
pub(super) struct Orchestrator {
    messages: watch::Receiver<Vec<Message>>,
    _reader: Child,
}

impl Orchestrator {
    /// Compiles the reader if that has not been done, and starts it.
    pub(super) async fn start(broker: &Broker) -> anyhow::Result<Self> {
        let step = progress::step("starting the orchestrator's reader (compiled the first time)");
        let source = broker.source();
        let command = spawn_blocking(move || command(&source, Until::Killed)).await.context("compiling the reader")?;
        let mut reader = Command::from(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting Java")?;
        drop(step);
        let stdout = reader.stdout.take().context("the reader's output is a pipe")?;
        let (sender, messages) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            // The pipe ends with the reader, and waiting for a message then fails.
            while let Ok(Some(line)) = lines.next_line().await {
                let message = serde_json::from_str(&line)
                    .map_or_else(|_| Message::Refused(line.clone()), |read| Message::Accepted(read, Instant::now()));
                sender.send_modify(|messages| messages.push(message));
            }
        });
        Ok(Self { messages, _reader: reader })
    }

    /// What has arrived so far.
    pub(super) fn messages(&self) -> Vec<Message> {
        self.messages.borrow().clone()
    }

    /// Waits for the message whose object, as Kotlin prints it, begins with `class` and contains `about`.
    pub(super) async fn wait_for(&self, class: &str, about: &str) -> anyhow::Result<(Accepted, Instant)> {
        let find = |messages: &Vec<Message>| {
            messages.iter().find_map(|message| match message {
                Message::Accepted(accepted, at)
                    if accepted.message.starts_with(class) && accepted.message.contains(about) =>
                {
                    Some((accepted.clone(), *at))
                }
                _ => None,
            })
        };
        let mut messages = self.messages.clone();
        let waiting = messages.wait_for(|messages| find(messages).is_some());
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(Ok(found)) => find(&found).context("the message has disappeared"),
            Ok(Err(_)) => bail!("the orchestrator's reader has ended; it printed {:?}", self.messages()),
            Err(_) => {
                bail!("the orchestrator received no {class} about {about} in {PATIENCE:?}: {:?}", self.messages())
            }
        }
    }
}
