//! Clients that mean harm, over real sockets. 127.0.0.2 is the attacker, 127.0.0.3 the bystander.

use super::*;

const ATTACKER: u8 = 2;
const BYSTANDER: u8 = 3;

/// A request with an empty body, as bytes.
fn head(path: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

/// Reads one response without a body and returns its status line.
async fn status(stream: &mut TlsStream<TcpStream>) -> String {
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        let byte = timeout(LONG, stream.read_u8()).await.expect("in time").expect("a response");
        response.push(byte);
    }
    let response = String::from_utf8(response).expect("text");
    response.lines().next().expect("a status line").to_owned()
}

async fn closings(server: &TestServer, reason: Closing, count: u64) {
    timeout(LONG, async {
        while server.metrics.closings(reason) < count {
            sleep(SHORT / 10).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{reason:?} counted {} times, not {count}", server.metrics.closings(reason)));
}

#[tokio::test]
async fn a_later_head_that_never_ends_is_closed_in_time() {
    let limits = Limits { header_timeout: 4 * SHORT, ..Limits::default() };
    // While its connection is served, after it has rested, and with the first part sent together with the request before.
    for (rest_after, pause, together) in [(LONG, false, false), (SHORT, true, false), (SHORT, false, true)] {
        let server = server(Limits { rest_after, ..limits }, NO_DRAIN).await;
        let mut stream = server.connect_from(ATTACKER).await.expect("the server accepts");
        let (mut first, second) = (head("/"), b"POST / HTTP/1.1\r\nhost:");
        if together {
            first.extend(second);
        }
        stream.write_all(&first).await.expect("sent");
        assert_eq!(status(&mut stream).await, "HTTP/1.1 200 OK");
        if pause {
            resting(&server, 1).await;
        }
        if !together {
            stream.write_all(second).await.expect("sent");
        }
        closed(&mut stream).await;
        closings(&server, Closing::HeaderTimeout, 1).await;
    }
}

#[tokio::test]
async fn a_head_above_16_kib_is_rejected_and_the_connection_closed_at_the_first_and_every_later_request() {
    let server = server(Limits::default(), NO_DRAIN).await;
    for before in [0, 1] {
        let mut stream = server.connect_from(ATTACKER).await.expect("the server accepts");
        for _ in 0..before {
            stream.write_all(&head("/")).await.expect("sent");
            assert_eq!(status(&mut stream).await, "HTTP/1.1 200 OK");
        }
        let large = format!("POST / HTTP/1.1\r\nhost: a\r\nx: {}", "a".repeat(60_000));
        // The server may close the connection before it has read everything.
        let _ = stream.write_all(large.as_bytes()).await;
        assert!(status(&mut stream).await.starts_with("HTTP/1.1 431"));
        closed(&mut stream).await;
    }
    closings(&server, Closing::ClientError, 2).await;
    let fits = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nx: {}\r\n\r\n", "a".repeat(15_000));
    let mut stream = server.connect_from(BYSTANDER).await.expect("the server accepts");
    stream.write_all(fits.as_bytes()).await.expect("sent");
    assert_eq!(status(&mut stream).await, "HTTP/1.1 200 OK", "a token of 8 KiB and more");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_responses_is_closed() {
    let limits = Limits { write_timeout: 4 * SHORT, ..Limits::default() };
    let server = server(limits, NO_DRAIN).await;
    // One large response, and many small ones to pipelined requests.
    for requests in [head("/large"), head("/").repeat(200_000)] {
        let before = server.metrics.closings(Closing::WriteTimeout);
        let mut stream = server.connect_from(ATTACKER).await.expect("the server accepts");
        let writing = tokio::spawn(async move {
            // Blocks once all buffers are full, until the server closes the connection.
            let sent = stream.write_all(&requests).await;
            let flushed = stream.flush().await;
            (stream, sent, flushed)
        });
        closings(&server, Closing::WriteTimeout, before + 1).await;
        let (mut stream, ..) = timeout(LONG, writing).await.expect("in time").expect("no panic");
        closed(&mut stream).await;
    }
}

#[tokio::test]
async fn a_response_4xx_closes_the_connection_and_a_5xx_does_not() {
    let server = server(Limits::default(), NO_DRAIN).await;
    let mut stream = server.connect_from(ATTACKER).await.expect("the server accepts");
    for _ in 0..2 {
        stream.write_all(&head("/broken")).await.expect("sent");
        assert_eq!(status(&mut stream).await, "HTTP/1.1 502 Bad Gateway");
    }
    stream.write_all(&head("/denied")).await.expect("sent");
    assert_eq!(status(&mut stream).await, "HTTP/1.1 403 Forbidden");
    closed(&mut stream).await;
    closings(&server, Closing::ClientError, 1).await;
}

#[tokio::test]
async fn whoever_holds_all_slots_loses_the_oldest_and_the_bystander_is_served() {
    let limits = Limits { max_connections: 12, source_connections: 12, ..Limits::default() };
    let server = server(limits, NO_DRAIN).await;
    let mut held = Vec::new();
    for _ in 0..12 {
        let mut client = server.client_from(ATTACKER).await;
        assert_eq!(client.send_request(post("/", "")).await.expect("an answer").status(), StatusCode::OK);
        held.push(client);
    }
    for n in 1..=3 {
        let mut bystander = server.client_from(BYSTANDER).await;
        assert_eq!(bystander.send_request(post("/", "")).await.expect("an answer").status(), StatusCode::OK);
        closings(&server, Closing::Evicted, n).await;
        held.push(bystander);
    }
    for (n, client) in held.iter_mut().enumerate() {
        let answer = client.send_request(post("/", "")).await;
        assert_eq!(answer.is_err(), n < 3, "only the oldest three of the attacker are closed, not {n}");
    }
}

#[tokio::test]
async fn newcomers_that_send_nothing_close_none_that_has_proven_itself() {
    let limits = Limits { max_connections: 12, source_connections: 12, source_newcomers: 12, ..Limits::default() };
    let server = server(limits, NO_DRAIN).await;
    let mut api_server = Vec::new();
    for _ in 0..8 {
        let mut client = server.client_from(BYSTANDER).await;
        assert_eq!(client.send_request(post("/", "")).await.expect("an answer").status(), StatusCode::OK);
        api_server.push(client);
    }
    let mut held = Vec::new();
    for _ in 0..24 {
        held.push(connect_from(ATTACKER, server.addr).await.expect("the server accepts"));
    }
    closings(&server, Closing::Evicted, 20).await;
    for client in &mut api_server {
        assert_eq!(client.send_request(post("/", "")).await.expect("an answer").status(), StatusCode::OK);
    }
    let mut newcomer = server.client_from(4).await;
    assert_eq!(newcomer.send_request(post("/", "")).await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn failed_authentications_of_one_source_delay_only_that_source() {
    let penalty = 20 * SHORT;
    let limits = Limits { source_newcomers: 4, penalty, handshake_timeout: 4 * SHORT, ..Limits::default() };
    let server = server(limits, NO_DRAIN).await;
    let start = tokio::time::Instant::now();
    for _ in 0..4 {
        let mut client = server.client_from(ATTACKER).await;
        assert_eq!(client.send_request(post("/denied", "")).await.expect("an answer").status(), StatusCode::FORBIDDEN);
    }
    // 5xx are not the client's fault, and a success ends being a newcomer.
    for path in ["/broken", "/"].repeat(8) {
        let mut client = server.client_from(BYSTANDER).await;
        client.send_request(post(path, "")).await.expect("an answer");
    }
    assert!(server.connect_from(ATTACKER).await.is_err(), "no handshake is done for it");
    assert_eq!(server.metrics.refusals(Refusal::Source), 1);
    assert!(start.elapsed() < penalty, "the test was too slow to show anything: {:?}", start.elapsed());
    sleep(penalty).await;
    let mut reformed = server.client_from(ATTACKER).await;
    assert_eq!(reformed.send_request(post("/", "")).await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn a_burst_of_newcomers_that_succeed_waits_and_is_served() {
    // As the API server with all its requests in flight, or a dense node behind one address after a change of the leader.
    let server = server(Limits { source_newcomers: 4, ..Limits::default() }, NO_DRAIN).await;
    let burst = (0..64).map(|_| async {
        let mut client = server.client_from(BYSTANDER).await;
        client.send_request(post("/", "")).await.expect("an answer").status()
    });
    let statuses = timeout(LONG, futures::future::join_all(burst)).await.expect("in time");
    assert!(statuses.iter().all(|status| *status == StatusCode::OK));
}
