//! Claims about the sidecar as a process, beating to a real server over TLS on loopback.
//!
//! Nothing here waits for a time to pass: every step waits for something that the server or the process did.

mod authority;
mod process;
mod reaper;

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use authority::Authority;
use hyper::StatusCode;
use jobwarden_common::{
    beat::{Beat, BeatReply, Command, Phase},
    names::sidecar_env as env,
};
use process::{Memory, Sidecar};
use reaper::{Event, Exchange, Reaper};
use tokio::net::TcpListener;

/// Any free port of a loopback address that no other test uses, so that a test which restarts its server finds the port
/// free still.
fn loopback() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    (Ipv4Addr::new(127, 0, 1, NEXT.fetch_add(1, Ordering::Relaxed)), 0).into()
}

/// The sidecar has a second to end in; the rest is for a busy machine.
const IN_TIME: Duration = Duration::from_millis(1_500);

/// Waits for what must come in a moment; a test that hangs fails instead.
async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), event).await.expect("it comes within 30 s")
}

async fn start() -> (Authority, Reaper, Sidecar) {
    let authority = Authority::new();
    let reaper = Reaper::start(loopback(), authority.server()).await;
    let sidecar = Sidecar::start(reaper.address, authority.pem());
    (authority, reaper, sidecar)
}

#[tokio::test]
async fn beats_count_up_over_one_connection_and_carry_the_token() {
    let (_authority, mut reaper, _sidecar) = start().await;
    for seq in 0..20 {
        let exchange = reaper.beat().await.expect_running(seq);
        assert_eq!((exchange.connection, &*exchange.authorization), (0, "Bearer first-token"));
        exchange.go_on();
    }
}

#[tokio::test]
async fn a_renewed_token_is_used_at_once() {
    let (_authority, mut reaper, sidecar) = start().await;
    let exchange = reaper.beat().await;
    sidecar.renew_token("second-token");
    exchange.go_on();
    let exchange = reaper.beat().await;
    assert_eq!((exchange.connection, &*exchange.authorization), (0, "Bearer second-token"));
}

#[tokio::test]
async fn stop_silences_it_for_good_and_it_lives_on_until_sigterm() {
    let (_authority, mut reaper, sidecar) = start().await;
    reaper.beat().await.reply(&BeatReply { next_in_ms: 1, command: Command::Stop, ca: None });
    assert!(matches!(reaper.event().await, Event::Closed), "it hangs up instead of beating on");
    let end = sidecar.end().await;
    assert_eq!(end.code, Some(0));
    assert!(reaper.is_quiet(), "not even its end is worth a beat");
    assert!(end.log.contains("given this pod up"), "{}", end.log);
}

/// Answers the first beat, and gives the second: the sidecar knows now that the reaper hears it.
async fn heard(reaper: &mut Reaper) -> Exchange {
    reaper.beat().await.go_on();
    reaper.beat().await.expect_running(1)
}

#[tokio::test]
async fn sigterm_between_beats_sends_ending_and_exits_0() {
    let (_authority, mut reaper, sidecar) = start().await;
    heard(&mut reaper).await.reply(&BeatReply { next_in_ms: 60_000, command: Command::Continue, ca: None });
    let asked = sidecar.terminate();
    let exchange = reaper.beat().await;
    assert_eq!((exchange.connection, exchange.beat), (0, Beat { seq: 2, phase: Phase::Ending }));
    exchange.go_on();
    let end = sidecar.end_since(asked).await;
    assert_eq!((end.code, &*end.log), (Some(0), ""));
    assert!(end.took < IN_TIME, "{:?}", end.took);
}

#[tokio::test]
async fn sigterm_during_a_beat_lets_it_finish_so_that_it_cannot_overtake_the_last() {
    let (_authority, mut reaper, sidecar) = start().await;
    let exchange = heard(&mut reaper).await;
    let asked = sidecar.terminate();
    exchange.go_on();
    let exchange = reaper.beat().await;
    assert_eq!((exchange.connection, exchange.beat), (0, Beat { seq: 2, phase: Phase::Ending }));
    exchange.go_on();
    assert_eq!(sidecar.end_since(asked).await.code, Some(0));
}

#[tokio::test]
async fn a_reaper_that_hangs_holds_up_the_end_for_a_second_at_most() {
    let (_authority, mut reaper, sidecar) = start().await;
    let _unanswered = heard(&mut reaper).await;
    let end = sidecar.end().await;
    assert_eq!(end.code, Some(0));
    assert!(end.took < IN_TIME, "{:?}", end.took);
}

#[tokio::test]
async fn a_restarted_reaper_is_found_again() {
    let (authority, mut reaper, _sidecar) = start().await;
    let unanswered = heard(&mut reaper).await;
    let address = reaper.stop().await;
    drop(unanswered);
    let mut reaper = Reaper::start(address, authority.server()).await;
    let exchange = reaper.beat().await;
    assert!(exchange.beat.seq >= 2, "it counts on: {:?}", exchange.beat);
    let (connection, seq) = (exchange.connection, exchange.beat.seq);
    exchange.go_on();
    let exchange = reaper.beat().await.expect_running(seq + 1);
    assert_eq!(exchange.connection, connection);
}

#[tokio::test]
async fn a_refused_beat_is_tried_again_over_a_new_connection() {
    let refusals = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE];
    let (_authority, mut reaper, sidecar) = start().await;
    for (connection, status) in (0..).zip(refusals) {
        let exchange = reaper.beat().await.expect_running(connection);
        assert_eq!(exchange.connection, connection);
        sidecar.renew_token(status.as_str());
        exchange.answer(status, String::new());
    }
    let exchange = reaper.beat().await.expect_running(3);
    assert_eq!((exchange.connection, &*exchange.authorization), (3, "Bearer 503"));
}

#[tokio::test]
async fn an_endless_or_odd_answer_is_a_failure_like_any_other() {
    let (_authority, mut reaper, sidecar) = start().await;
    reaper.beat().await.answer(StatusCode::OK, " ".repeat(1024 * 1024));
    reaper.beat().await.expect_running(1).answer(StatusCode::OK, "{}".to_owned());
    assert_eq!(reaper.beat().await.expect_running(2).connection, 2);
    let end = sidecar.end().await;
    assert!(end.log.contains("65536 bytes"), "{}", end.log);
}

#[tokio::test]
async fn a_newer_ca_bundle_is_trusted_from_the_next_connection_on() {
    let (_old, mut reaper, _sidecar) = start().await;
    let new = Authority::new();
    reaper.beat().await.reply(&BeatReply { next_in_ms: 1, command: Command::Continue, ca: Some(new.pem()) });
    let exchange = reaper.beat().await;
    assert_eq!(exchange.connection, 0, "the connection at hand stays");
    let mut reaper = Reaper::start(reaper.stop().await, new.server()).await;
    assert!(matches!(reaper.event().await, Event::Beat(_)), "it trusts the new certificate");
}

#[tokio::test]
async fn a_ca_bundle_that_does_not_fit_gives_way_to_the_one_before() {
    let (authority, mut reaper, _sidecar) = start().await;
    let wrong = Authority::new().pem();
    reaper.beat().await.reply(&BeatReply { next_in_ms: 1, command: Command::Continue, ca: Some(wrong) });
    drop(reaper.beat().await);
    let mut reaper = Reaper::start(reaper.stop().await, authority.server()).await;
    assert!(matches!(reaper.event().await, Event::Distrusted));
    assert!(matches!(reaper.event().await, Event::Beat(_)));
}

#[tokio::test]
async fn an_impostor_never_gets_the_token() {
    let impostor = Authority::new();
    let mut reaper = Reaper::start(loopback(), impostor.server()).await;
    let sidecar = Sidecar::start(reaper.address, Authority::new().pem());
    for _ in 0..2 {
        assert!(matches!(reaper.event().await, Event::Distrusted));
    }
    let end = sidecar.end().await;
    assert!(end.log.contains("invalid peer certificate"), "{}", end.log);
}

#[tokio::test]
async fn an_unreachable_reaper_makes_one_line_and_holds_up_nothing() {
    let listener = TcpListener::bind(loopback()).await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let sidecar = Sidecar::start(address, Authority::new().pem());
    for _ in 0..3 {
        let (attempt, _) = soon(listener.accept()).await.expect("loopback accepts");
        drop(attempt);
    }
    let end = sidecar.end().await;
    assert_eq!(end.code, Some(0));
    assert!(end.took < Duration::from_millis(500), "nothing to say goodbye to: {:?}", end.took);
    assert_eq!(end.log.lines().count(), 1, "{}", end.log);
}

#[tokio::test]
async fn a_broken_configuration_is_said_once_and_never_ends_it() {
    let mut sidecar = Sidecar::start_with(&[(env::REAPER_ADDRESS, "10.96.0.7".to_owned())]);
    let line = sidecar.log_line().await;
    assert!(line.contains(env::REAPER_NAME) && line.contains(env::CA), "{line}");
    let end = sidecar.end().await;
    assert_eq!((end.code, &*end.log), (Some(0), ""), "not a second line");
}

/// Lets `sidecar` beat 200 times, then 1,000 times, and gives its memory after both.
async fn memory_over_beats(reaper: &mut Reaper, sidecar: &Sidecar, answer: fn(Exchange)) -> [Memory; 2] {
    let mut measured = [Memory::default(); 2];
    let mut seq = 0..;
    for (beats, memory) in [200, 1_000].into_iter().zip(&mut measured) {
        for seq in seq.by_ref().take(beats) {
            answer(reaper.beat().await.expect_running(seq));
        }
        *memory = sidecar.memory();
    }
    measured
}

// A leak of 16 bytes a beat would show in both.

#[tokio::test]
async fn memory_does_not_grow_over_a_thousand_beats() {
    let (_authority, mut reaper, sidecar) = start().await;
    let [warm, later] = memory_over_beats(&mut reaper, &sidecar, Exchange::go_on).await;
    println!("after 1,200 beats: VmRSS {} KiB, RssAnon {} KiB", later.rss_kib, later.anonymous_kib);
    assert!(later.anonymous_kib <= warm.anonymous_kib + 16, "from {warm:?} to {later:?}");
}

#[tokio::test]
async fn memory_does_not_grow_over_a_thousand_connections() {
    let (_authority, mut reaper, sidecar) = start().await;
    let [warm, later] = memory_over_beats(&mut reaper, &sidecar, Exchange::go_on_elsewhere).await;
    println!("after 1,200 connections: VmRSS {} KiB, RssAnon {} KiB", later.rss_kib, later.anonymous_kib);
    assert!(later.anonymous_kib <= warm.anonymous_kib + 16, "from {warm:?} to {later:?}");
}
