//! Simulates the sidecars of thousands of pods in one process, to measure what they cost the reaper.
//!
//! `jobwarden-sidecars <ip:port> <server name> <ca.pem> <key.pem> <token> <pods>`: the reaper's address, server name and CA; the key
//! that signs service account tokens; a file with the token of one of the pods, from which the tokens of all others are derived; and
//! a file with a line `<UID> <name> <node>` for each pod.
//!
//! It reads one command per line from stdin, and answers each with one line of JSON on stdout when it is done: `open N` connects
//! sidecars until there are N, and each new one beats once; `beat N` makes every connected sidecar beat N times, as fast as it gets
//! answers; `pace N` makes them beat at the normal interval, N times. It exits at the end of stdin.

#![allow(clippy::print_stdout, reason = "answers the program that started it")]

mod command;
mod sidecar;
mod tokens;

use std::{env, fs, io::stdin, sync::Arc};

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use self::{
    command::Command,
    sidecar::{Connection, INTERVAL, Reaper},
    tokens::{Pod, Signer},
};

/// The number of concurrent handshakes.
const HANDSHAKES: usize = 16;

/// The number of concurrent beats.
const BEATS: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, name, ca, key, token, pods] = &arguments[..] else {
        bail!("usage: jobwarden-sidecars <ip:port> <server name> <ca.pem> <key.pem> <token> <pods>");
    };
    let reaper = Arc::new(Reaper::new(address, name, ca)?);
    let signer = Signer::new(key, token)?;
    let pods = fs::read_to_string(pods).with_context(|| format!("reading {pods}"))?;
    let pods: Vec<Pod> = pods.lines().map(str::parse).collect::<anyhow::Result<_>>()?;
    let mut sidecars = Sidecars { reaper, signer, pods, connections: Vec::new() };
    // Blocking the runtime is fine: nothing has to run between two commands.
    for command in stdin().lines() {
        let command = command.context("reading a command")?;
        let begin = Instant::now();
        let beats = sidecars.execute(command.parse()?).await.with_context(|| format!("command {command:?}"))?;
        let (connections, seconds) = (sidecars.connections.len(), begin.elapsed().as_secs_f64());
        println!(r#"{{"connections":{connections},"beats":{beats},"seconds":{seconds:.3}}}"#);
    }
    Ok(())
}

/// All simulated sidecars.
struct Sidecars {
    reaper: Arc<Reaper>,
    signer: Signer,
    pods: Vec<Pod>,
    connections: Vec<Connection>,
}

impl Sidecars {
    /// Executes a command and returns how many beats were answered.
    async fn execute(&mut self, command: Command) -> anyhow::Result<usize> {
        match command {
            Command::Open(connections) => self.open(connections).await,
            Command::Beat(rounds) => {
                for _ in 0..rounds {
                    let beats = stream::iter(self.connections.iter_mut().map(|connection| Ok(connection.beat())));
                    beats.try_buffer_unordered(BEATS).try_for_each(async |()| Ok(())).await?;
                }
                Ok(self.connections.len() * rounds)
            }
            Command::Pace(intervals) => {
                for _ in 0..intervals {
                    self.interval().await?;
                }
                Ok(self.connections.len() * intervals)
            }
        }
    }

    async fn open(&mut self, connections: usize) -> anyhow::Result<usize> {
        ensure!(connections <= self.pods.len(), "there are only {} pods", self.pods.len());
        let already = self.connections.len();
        let new = self.pods[already..connections].iter().map(|pod| {
            let (reaper, authorization) = (Arc::clone(&self.reaper), self.signer.authorization(pod));
            async move {
                let mut connection = Connection::open(&reaper, authorization?).await?;
                connection.beat().await?;
                anyhow::Ok(connection)
            }
        });
        let new: Vec<_> = stream::iter(new).buffer_unordered(HANDSHAKES).try_collect().await?;
        self.connections.extend(new);
        Ok(connections - already)
    }

    /// Each sidecar beats once, and the beats are spread over the interval.
    async fn interval(&mut self) -> anyhow::Result<()> {
        let (begin, share) = (Instant::now(), INTERVAL.div_f64(self.connections.len() as f64));
        let beats = self.connections.iter_mut().enumerate().map(|(number, connection)| {
            let due = begin + share.mul_f64(number as f64);
            Ok(async move {
                tokio::time::sleep_until(due).await;
                connection.beat().await
            })
        });
        stream::iter(beats).try_buffer_unordered(BEATS).try_for_each(async |()| Ok(())).await?;
        tokio::time::sleep_until(begin + INTERVAL).await;
        Ok(())
    }
}
