//! Hostile traffic: connections that never complete, and bodies that are far too large.
//!
//! A connection that the server closes is opened again, so the number stays constant. The last line is
//! `{"requests":…,"slow":…,"refused":…}`: floods sent, slow connections opened, and floods that were answered.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::ensure;
use jobwarden_common::names::admission_route;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    task::JoinSet,
    time::{Instant, interval, sleep, timeout_at},
};

use super::client::{NAME, Server};

/// Number of concurrent floods.
const FLOODS: u32 = 4;

/// Size of the body of a flood, in bytes.
const FLOOD_BYTES: usize = 10 * 1024 * 1024;

/// Interval between two bytes of a slow connection.
const TRICKLE: Duration = Duration::from_millis(500);

/// The first bytes of an incomplete TLS record: a handshake of 512 bytes (RFC 8446, section 5.1).
const HALF_A_HELLO: &[u8] = &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01];

static SLOW: AtomicU64 = AtomicU64::new(0);
static FLOODED: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Keeps slow connections open, and floods, for `time`.
pub(crate) async fn run(server: &Server, connections: u32, time: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + time;
    let mut running = JoinSet::new();
    for index in 0..connections {
        let server = server.clone();
        running.spawn(async move {
            let _ = timeout_at(end, repeat(|| slow(&server, index))).await;
        });
    }
    for index in 0..FLOODS {
        let server = server.clone();
        running.spawn(async move {
            let _ = timeout_at(end, repeat(|| flood(&server, index))).await;
        });
    }
    while running.join_next().await.is_some() {}
    let [slow, flooded, refused] = [&SLOW, &FLOODED, &REFUSED].map(|counter| counter.load(Ordering::Relaxed));
    ensure!(slow >= connections.into() && flooded > 0, "only {slow} slow connections and {flooded} floods");
    ensure!(refused > 0, "none of {flooded} floods was answered with 413");
    println!(r#"{{"requests":{flooded},"slow":{slow},"refused":{refused}}}"#);
    Ok(())
}

/// Repeats for ever; with a delay after an error, such as a full listen queue.
async fn repeat<F: Future<Output = anyhow::Result<()>>>(mut once: impl FnMut() -> F) {
    loop {
        if once().await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// One slow connection, until the server closes it.
async fn slow(server: &Server, index: u32) -> anyhow::Result<()> {
    match index % 4 {
        0 => trickle(server.plain().await?, b"", false).await,
        1 => trickle(server.plain().await?, HALF_A_HELLO, false).await,
        2 => trickle(server.secure().await?, head("x-slow: ").as_bytes(), true).await,
        _ => trickle(server.secure().await?, head("content-length: 1000000\r\n\r\n").as_bytes(), true).await,
    }
}

fn head(rest: &str) -> String {
    format!("POST {} HTTP/1.1\r\nhost: {NAME}\r\n{rest}", admission_route::PODS)
}

/// Sends `beginning` and, if `on`, a byte now and then.
async fn trickle(mut stream: impl AsyncRead + AsyncWrite + Unpin, beginning: &[u8], on: bool) -> anyhow::Result<()> {
    stream.write_all(beginning).await?;
    stream.flush().await?;
    SLOW.fetch_add(1, Ordering::Relaxed);
    let mut ticks = interval(TRICKLE);
    let mut answer = [0; 1024];
    loop {
        tokio::select! {
            read = stream.read(&mut answer) => if read? == 0 { return Ok(()) },
            _ = ticks.tick(), if on => {
                stream.write_all(b"x").await?;
                stream.flush().await?;
            }
        }
    }
}

/// One body that is too large; every other one does not announce its length.
async fn flood(server: &Server, index: u32) -> anyhow::Result<()> {
    let announced = index.is_multiple_of(2);
    let (head, part) = if announced {
        (head(&format!("content-length: {FLOOD_BYTES}\r\n\r\n")), vec![b' '; 64 * 1024])
    } else {
        let part = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
        (head("transfer-encoding: chunked\r\n\r\n"), part)
    };
    FLOODED.fetch_add(1, Ordering::Relaxed);
    let (mut reader, mut writer) = tokio::io::split(server.secure().await?);
    let sending = async {
        writer.write_all(head.as_bytes()).await?;
        for _ in 0..FLOOD_BYTES / (64 * 1024) {
            writer.write_all(&part).await?;
        }
        writer.flush().await
    };
    let mut answer = Vec::new();
    // A server that rejects the body stops reading, so sending fails; what matters is the response.
    let (_, _) = tokio::join!(sending, reader.read_to_end(&mut answer));
    if answer.starts_with(b"HTTP/1.1 413") {
        REFUSED.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
