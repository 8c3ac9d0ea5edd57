//! Plays the sidecars of thousands of pods in one process, to see what they cost the reaper.
//!
//! `jobwarden-sidecars <ip:port> <server name> <ca.pem> <key.pem> <token> <pods>`: whom to beat to; the key that signs the tokens
//! of service accounts; a file with the token of one of the pods, of which those of all others are made; and a file with a line
//! `<UID> <name> <node>` for each pod.
//!
//! It takes one order a line from stdin, and answers each on stdout by one line of JSON once it is carried out:
//! `open N` has N sidecars connected, each of which has beaten once; `beat N` has each that is connected beat N times, as fast as
//! they are answered; `pace N` has them beat as sidecars do for N intervals. At the end of stdin it ends.

#![allow(clippy::print_stdout, reason = "speaks to the program that started it")]

mod order;
mod sidecar;
mod tokens;

use std::{env, fs, io::stdin, sync::Arc};

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use self::{
    order::Order,
    sidecar::{INTERVAL, Line, Reaper},
    tokens::{Pod, Signer},
};

/// Handshakes at one time.
const HANDSHAKES: usize = 16;

/// Beats at one time.
const BEATS: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // Whoever was first has installed the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, name, ca, key, token, pods] = &arguments[..] else {
        bail!("usage: jobwarden-sidecars <ip:port> <server name> <ca.pem> <key.pem> <token> <pods>");
    };
    let reaper = Arc::new(Reaper::new(address, name, ca)?);
    let signer = Signer::new(key, token)?;
    let pods = fs::read_to_string(pods).with_context(|| format!("reading {pods}"))?;
    let pods: Vec<Pod> = pods.lines().map(str::parse).collect::<anyhow::Result<_>>()?;
    let mut crowd = Crowd { reaper, signer, pods, lines: Vec::new() };
    // Nothing has to go on between two orders, so it may wait for the next where it stands.
    for order in stdin().lines() {
        let order = order.context("reading an order")?;
        let begin = Instant::now();
        let beats = crowd.follow(order.parse()?).await.with_context(|| format!("at {order:?}"))?;
        let (lines, seconds) = (crowd.lines.len(), begin.elapsed().as_secs_f64());
        println!(r#"{{"lines":{lines},"beats":{beats},"seconds":{seconds:.3}}}"#);
    }
    Ok(())
}

/// All sidecars.
struct Crowd {
    reaper: Arc<Reaper>,
    signer: Signer,
    pods: Vec<Pod>,
    lines: Vec<Line>,
}

impl Crowd {
    /// Carries out an order, and says how many beats were answered.
    async fn follow(&mut self, order: Order) -> anyhow::Result<usize> {
        match order {
            Order::Open(lines) => self.open(lines).await,
            Order::Beat(rounds) => {
                for _ in 0..rounds {
                    let beats = stream::iter(self.lines.iter_mut().map(|line| Ok(line.beat())));
                    beats.try_buffer_unordered(BEATS).try_for_each(async |()| Ok(())).await?;
                }
                Ok(self.lines.len() * rounds)
            }
            Order::Pace(intervals) => {
                for _ in 0..intervals {
                    self.interval().await?;
                }
                Ok(self.lines.len() * intervals)
            }
        }
    }

    async fn open(&mut self, lines: usize) -> anyhow::Result<usize> {
        ensure!(lines <= self.pods.len(), "there are only {} pods", self.pods.len());
        let already = self.lines.len();
        let new = self.pods[already..lines].iter().map(|pod| {
            let (reaper, authorization) = (Arc::clone(&self.reaper), self.signer.authorization(pod));
            async move {
                let mut line = Line::open(&reaper, authorization?).await?;
                line.beat().await?;
                anyhow::Ok(line)
            }
        });
        let new: Vec<_> = stream::iter(new).buffer_unordered(HANDSHAKES).try_collect().await?;
        self.lines.extend(new);
        Ok(lines - already)
    }

    /// Each beats once, the beats spread over the interval.
    async fn interval(&mut self) -> anyhow::Result<()> {
        let (begin, share) = (Instant::now(), INTERVAL.div_f64(self.lines.len() as f64));
        let beats = self.lines.iter_mut().enumerate().map(|(number, line)| {
            let due = begin + share.mul_f64(number as f64);
            Ok(async move {
                tokio::time::sleep_until(due).await;
                line.beat().await
            })
        });
        stream::iter(beats).try_buffer_unordered(BEATS).try_for_each(async |()| Ok(())).await?;
        tokio::time::sleep_until(begin + INTERVAL).await;
        Ok(())
    }
}
