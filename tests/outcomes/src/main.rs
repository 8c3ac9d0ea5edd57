//! Records outcomes as the reaper does, and receives their notifications, for `cargo xtask bench deliver`.
//!
//! `jobwarden-outcomes <namespace> <ip:port>`: the namespace of the outcomes, and the address to receive on. The API server is that of `KUBECONFIG`.
//!
//! It reads one command per line from stdin, and answers each with one line of JSON on stdout when it is done. `SINKS` are the names of the
//! sinks that receive the outcome, with commas between them, or `-` for none:
//!
//! - `record COUNT SINKS` records outcomes as fast as it can.
//! - `flow COUNT SINKS` does the same, but never with more than some hundred outcomes that are not received yet.
//! - `pace COUNT RATE SINKS` records RATE outcomes a second, whatever the answers take, and measures how long each takes until it is
//!   received.
//! - `write COUNT` records outcomes without sinks and measures how fast their statuses can be written.
//! - `count` and `acknowledged SINK` count the outcomes that exist, and those that a sink has acknowledged.
//! - `clear` deletes all outcomes.
//!
//! It exits at the end of stdin.

#![allow(clippy::print_stdout, reason = "standard output is the interface to the benchmark")]

mod command;
mod latencies;
mod receiver;
mod recorder;

use std::{env, io::stdin, net::SocketAddr};

use anyhow::{Context as _, bail};
use kube::{Api, Client};

use self::{command::Command, receiver::Receiver, recorder::Recorder};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    jobwarden_serve::tls::install_crypto_provider();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [namespace, address] = &arguments[..] else {
        bail!("usage: jobwarden-outcomes <namespace> <ip:port>");
    };
    let address: SocketAddr = address.parse().with_context(|| format!("{address:?} is not an address"))?;
    let receiver = Receiver::start(address).await?;
    let client = Client::try_default().await.context("finding the API server")?;
    let mut recorder = Recorder::new(Api::namespaced(client, namespace), receiver);
    // Blocking this thread is fine: the receiver runs on others.
    for command in stdin().lines() {
        let command = command.context("reading a command")?;
        let answer = execute(&mut recorder, command.parse()?).await;
        println!("{}", answer.with_context(|| format!("command {command:?}"))?);
    }
    Ok(())
}

async fn execute(recorder: &mut Recorder, command: Command) -> anyhow::Result<serde_json::Value> {
    match command {
        Command::Record { count, sinks } => recorder.record(count, &sinks).await,
        Command::Flow { count, sinks } => recorder.flow(count, &sinks).await,
        Command::Pace { count, rate, sinks } => recorder.pace(count, rate, &sinks).await,
        Command::Write { count } => recorder.write(count).await,
        Command::Count => recorder.count().await,
        Command::Acknowledged { sink } => recorder.acknowledged(&sink).await,
        Command::Clear => recorder.clear().await,
    }
}
