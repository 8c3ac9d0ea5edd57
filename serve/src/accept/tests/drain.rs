use std::io;

use tokio::{
    io::DuplexStream,
    time::{Instant, sleep_until},
};

use super::{
    super::{accept_loop::AcceptLoop, connection::Connection, slots::Slots, source::Source, stage::Stage},
    *,
};

/// The defaults of the flags: the listener closes after 5 s without a connection, at the latest after 15 s; the drain ends after
/// 25 s.
const DRAIN: ShutdownArgs =
    ShutdownArgs { drain_delay: Duration::from_secs(5), drain_timeout: Duration::from_secs(20) };

/// Rests before the drain starts.
const LIMITS: Limits = Limits {
    max_connections: 64,
    source_connections: 64,
    source_newcomers: 64,
    penalty: Duration::ZERO,
    handshake_timeout: LONG,
    header_timeout: LONG,
    idle_timeout: LONG,
    rest_after: Duration::from_secs(1),
    write_timeout: LONG,
    send_timeout: LONG,
    max_body: 1024,
    max_bodies: 1024,
};

impl Stream for DuplexStream {
    /// These tests send nothing over a connection that rests.
    async fn wait_readable(&mut self) -> io::Result<bool> {
        std::future::pending().await
    }
}

/// A server over in-memory connections.
struct Memory {
    connections: mpsc::UnboundedSender<DuplexStream>,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Memory {
    fn start() -> Self {
        let (connections, mut arriving) = mpsc::unbounded_channel();
        let (shutdown, stage, metrics) = (Shutdown::manual(), Stage::default(), Metrics::default());
        let accept_loop = AcceptLoop {
            slots: Slots::new(LIMITS),
            shutdown: shutdown.clone(),
            drain: DRAIN,
            stage: stage.clone(),
            metrics: metrics.clone(),
        };
        let serve = move |stream, activity, slot| {
            let service = service_fn(async |request: Request<Incoming>| {
                if request.uri().path() == "/stuck" {
                    std::future::pending::<()>().await;
                }
                Ok::<_, BodyError>(Response::new(Full::new(Bytes::from_static(b"served"))))
            });
            let (stage, metrics) = (stage.clone(), metrics.clone());
            Connection { limits: LIMITS, service, stage, metrics, activity, slot }.serve(stream)
        };
        let task = tokio::spawn(async move {
            let accept = move |context: &mut std::task::Context<'_>| {
                let arrived = arriving.poll_recv(context).map(|stream| stream.map(|stream| (stream, Source::Own)));
                arrived.map(|stream| stream.ok_or_else(|| io::ErrorKind::ConnectionAborted.into()))
            };
            accept_loop.run(accept, serve).await;
        });
        Self { connections, shutdown, task }
    }

    /// A new connection; an error once the listener is closed.
    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ()> {
        let (client, server) = tokio::io::duplex(64 * 1024);
        self.connections.send(server).map_err(drop)?;
        let (client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(client)).await.expect("no I/O yet");
        tokio::spawn(connection);
        Ok(client)
    }

    /// One request over a connection of its own; whether the response closes the connection.
    async fn request(&self) -> Result<bool, ()> {
        let response = self.connect().await?.send_request(post("/", "")).await.expect("an answer");
        let closes = response.headers().get("connection").is_some_and(|value| value == "close");
        assert_eq!(text(response).await, "served");
        Ok(closes)
    }

    /// How long after `start` the server has ended.
    async fn ended_after(self, start: Instant) -> Duration {
        timeout(LONG, self.task).await.expect("the drain ends").expect("no panic");
        start.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_connections_ends_after_one_quiet_period() {
    let server = Memory::start();
    let start = Instant::now();
    server.shutdown.trigger();
    assert_eq!(server.ended_after(start).await.as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_arrives_during_the_drain_is_served_and_then_closed() {
    let server = Memory::start();
    assert_eq!(server.request().await, Ok(false), "before the drain connections are kept alive");
    let start = Instant::now();
    server.shutdown.trigger();
    for second in [1, 5, 9] {
        sleep_until(start + Duration::from_secs(second)).await;
        assert_eq!(server.request().await, Ok(true), "after {second} s");
    }
    sleep_until(start + Duration::from_millis(14_001)).await;
    assert_eq!(server.request().await, Err(()), "5 s after the last connection the listener is closed");
    assert_eq!(server.ended_after(start).await.as_secs(), 14);
}

#[tokio::test(start_paused = true)]
async fn the_drain_ends_by_its_deadline_although_connections_keep_arriving() {
    let server = Memory::start();
    let start = Instant::now();
    server.shutdown.trigger();
    let mut stuck = server.connect().await.expect("the server accepts");
    let stuck = tokio::spawn(stuck.send_request(post("/stuck", "")));
    while server.request().await.is_ok() {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(start.elapsed().as_secs(), 15, "the listener closes half of the drain timeout before the deadline");
    assert_eq!(server.ended_after(start).await.as_secs(), 25);
    assert!(stuck.await.expect("no panic").is_err(), "the request in flight is aborted");
}

#[tokio::test(start_paused = true)]
async fn an_idle_kept_alive_connection_does_not_delay_the_end_of_the_drain() {
    for rests in [false, true] {
        let server = Memory::start();
        let mut idle = server.connect().await.expect("the server accepts");
        let response = idle.send_request(post("/", "")).await.expect("an answer");
        assert_eq!(text(response).await, "served");
        if rests {
            sleep(4 * LIMITS.rest_after).await;
        }
        let start = Instant::now();
        server.shutdown.trigger();
        assert_eq!(server.ended_after(start).await.as_secs(), 5, "resting: {rests}");
        assert!(idle.ready().await.is_err(), "the connection is closed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_kept_alive_since_before_the_drain_is_closed_with_its_next_response() {
    let server = Memory::start();
    let mut client = server.connect().await.expect("the server accepts");
    let response = client.send_request(post("/", "")).await.expect("an answer");
    assert_eq!(response.headers().get("connection"), None);
    assert_eq!(text(response).await, "served");
    server.shutdown.trigger();
    tokio::task::yield_now().await;
    let response = client.send_request(post("/", "")).await.expect("an answer");
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(text(response).await, "served");
}
