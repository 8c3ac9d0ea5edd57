//! Tests of the sidecar as a process that sends beats to a real server over TLS on loopback.
//!
//! No test sleeps: every step waits for something that the server or the process did.

mod authority;
mod process;
mod reaper;
mod timeout;

use std::{
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
use timeout::with_timeout;
use tokio::net::TcpListener;

/// Port 0 of a loopback address that no other test uses: a test that restarts its server can then bind the same port again.
fn loopback() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    (Ipv4Addr::new(127, 0, 1, NEXT.fetch_add(1, Ordering::Relaxed)), 0).into()
}

/// The sidecar exits within a second; the rest is slack for a busy machine.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(1_500);

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
        exchange.accept();
    }
}

#[tokio::test]
async fn a_renewed_token_is_used_at_once() {
    let (_authority, mut reaper, sidecar) = start().await;
    let exchange = reaper.beat().await;
    sidecar.renew_token("second-token");
    exchange.accept();
    let exchange = reaper.beat().await;
    assert_eq!((exchange.connection, &*exchange.authorization), (0, "Bearer second-token"));
}

#[tokio::test]
async fn the_stop_command_ends_beats_and_the_process_runs_until_sigterm() {
    let (_authority, mut reaper, sidecar) = start().await;
    reaper.beat().await.reply(&BeatReply { next_in_ms: 1, command: Command::Stop, ca: None });
    assert!(matches!(reaper.event().await, Event::Closed), "the connection is closed instead of reused");
    let exit = sidecar.stop().await;
    assert_eq!(exit.code, Some(0));
    assert!(reaper.has_no_events(), "there is no ending beat either");
    assert!(exit.log.contains("the reaper abandoned this pod"), "{}", exit.log);
}

/// Replies to the first beat and returns the second: by then the sidecar has received a reply.
async fn second_beat(reaper: &mut Reaper) -> Exchange {
    reaper.beat().await.accept();
    reaper.beat().await.expect_running(1)
}

#[tokio::test]
async fn sigterm_between_beats_sends_ending_and_exits_0() {
    let (_authority, mut reaper, sidecar) = start().await;
    second_beat(&mut reaper).await.reply(&BeatReply { next_in_ms: 60_000, command: Command::Continue, ca: None });
    let asked = sidecar.terminate();
    let exchange = reaper.beat().await;
    assert_eq!((exchange.connection, exchange.beat), (0, Beat { seq: 2, phase: Phase::Ending }));
    exchange.accept();
    let exit = sidecar.wait_for_exit(asked).await;
    assert_eq!((exit.code, &*exit.log), (Some(0), ""));
    assert!(exit.took < SHUTDOWN_LIMIT, "{:?}", exit.took);
}

#[tokio::test]
async fn a_beat_in_flight_at_sigterm_finishes_before_the_ending_beat() {
    let (_authority, mut reaper, sidecar) = start().await;
    let exchange = second_beat(&mut reaper).await;
    let asked = sidecar.terminate();
    exchange.accept();
    let exchange = reaper.beat().await;
    assert_eq!((exchange.connection, exchange.beat), (0, Beat { seq: 2, phase: Phase::Ending }));
    exchange.accept();
    assert_eq!(sidecar.wait_for_exit(asked).await.code, Some(0));
}

#[tokio::test]
async fn a_hanging_reaper_delays_the_exit_by_at_most_a_second() {
    let (_authority, mut reaper, sidecar) = start().await;
    let _unanswered = second_beat(&mut reaper).await;
    let exit = sidecar.stop().await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.took < SHUTDOWN_LIMIT, "{:?}", exit.took);
}

#[tokio::test]
async fn the_sidecar_reconnects_to_a_restarted_reaper() {
    let (authority, mut reaper, _sidecar) = start().await;
    let unanswered = second_beat(&mut reaper).await;
    let address = reaper.stop().await;
    drop(unanswered);
    let mut reaper = Reaper::start(address, authority.server()).await;
    let exchange = reaper.beat().await;
    assert!(exchange.beat.seq >= 2, "seq continues: {:?}", exchange.beat);
    let (connection, seq) = (exchange.connection, exchange.beat.seq);
    exchange.accept();
    let exchange = reaper.beat().await.expect_running(seq + 1);
    assert_eq!(exchange.connection, connection);
}

#[tokio::test]
async fn the_beat_after_a_rejected_one_uses_a_new_connection() {
    let statuses = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE];
    let (_authority, mut reaper, sidecar) = start().await;
    for (connection, status) in (0..).zip(statuses) {
        let exchange = reaper.beat().await.expect_running(connection);
        assert_eq!(exchange.connection, connection);
        sidecar.renew_token(status.as_str());
        exchange.reply_status(status, String::new());
    }
    let exchange = reaper.beat().await.expect_running(3);
    assert_eq!((exchange.connection, &*exchange.authorization), (3, "Bearer 503"));
}

#[tokio::test]
async fn an_oversized_or_malformed_reply_is_a_failed_beat() {
    let (_authority, mut reaper, sidecar) = start().await;
    reaper.beat().await.reply_status(StatusCode::OK, " ".repeat(1024 * 1024));
    reaper.beat().await.expect_running(1).reply_status(StatusCode::OK, "{}".to_owned());
    assert_eq!(reaper.beat().await.expect_running(2).connection, 2);
    let exit = sidecar.stop().await;
    assert!(exit.log.contains("65536 bytes"), "{}", exit.log);
}

#[tokio::test]
async fn a_newer_ca_bundle_applies_from_the_next_connection_on() {
    let (_old, mut reaper, _sidecar) = start().await;
    let new = Authority::new();
    reaper.beat().await.reply(&BeatReply { next_in_ms: 1, command: Command::Continue, ca: Some(new.pem()) });
    let exchange = reaper.beat().await;
    assert_eq!(exchange.connection, 0, "the open connection stays");
    let mut reaper = Reaper::start(reaper.stop().await, new.server()).await;
    assert!(matches!(reaper.event().await, Event::Beat(_)), "the new certificate is trusted");
}

#[tokio::test]
async fn an_untrusted_certificate_reverts_to_the_previous_ca_bundle() {
    let (authority, mut reaper, _sidecar) = start().await;
    let wrong = Authority::new().pem();
    reaper.beat().await.reply(&BeatReply { next_in_ms: 1, command: Command::Continue, ca: Some(wrong) });
    drop(reaper.beat().await);
    let mut reaper = Reaper::start(reaper.stop().await, authority.server()).await;
    assert!(matches!(reaper.event().await, Event::HandshakeFailed));
    assert!(matches!(reaper.event().await, Event::Beat(_)));
}

#[tokio::test]
async fn an_impostor_never_receives_the_token() {
    let impostor = Authority::new();
    let mut reaper = Reaper::start(loopback(), impostor.server()).await;
    let sidecar = Sidecar::start(reaper.address, Authority::new().pem());
    for _ in 0..2 {
        assert!(matches!(reaper.event().await, Event::HandshakeFailed));
    }
    let exit = sidecar.stop().await;
    assert!(exit.log.contains("invalid peer certificate"), "{}", exit.log);
}

#[tokio::test]
async fn an_unreachable_reaper_causes_one_log_line_and_no_delay_at_exit() {
    let listener = TcpListener::bind(loopback()).await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let sidecar = Sidecar::start(address, Authority::new().pem());
    for _ in 0..3 {
        let (attempt, _) = with_timeout(listener.accept()).await.expect("loopback accepts");
        drop(attempt);
    }
    let exit = sidecar.stop().await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.took < Duration::from_millis(500), "there is no ending beat to wait for: {:?}", exit.took);
    assert_eq!(exit.log.lines().count(), 1, "{}", exit.log);
}

#[tokio::test]
async fn an_invalid_configuration_is_logged_once_and_never_exits() {
    let mut sidecar = Sidecar::start_with(&[(env::REAPER_ADDRESS, "10.96.0.7".to_owned())]);
    let line = sidecar.log_line().await;
    assert!(line.contains(env::REAPER_NAME) && line.contains(env::CA), "{line}");
    let exit = sidecar.stop().await;
    assert_eq!((exit.code, &*exit.log), (Some(0), ""), "no second line");
}

/// Waits for 200 beats of `sidecar`, then for 1,000 more, and returns its memory after each.
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

// Both tests detect a leak of 16 bytes a beat.

#[tokio::test]
async fn memory_does_not_grow_over_a_thousand_beats() {
    let (_authority, mut reaper, sidecar) = start().await;
    let [warm, later] = memory_over_beats(&mut reaper, &sidecar, Exchange::accept).await;
    println!("after 1,200 beats: VmRSS {} KiB, RssAnon {} KiB", later.rss_kib, later.anonymous_kib);
    assert!(later.anonymous_kib <= warm.anonymous_kib + 16, "from {warm:?} to {later:?}");
}

#[tokio::test]
async fn memory_does_not_grow_over_a_thousand_connections() {
    let (_authority, mut reaper, sidecar) = start().await;
    let [warm, later] = memory_over_beats(&mut reaper, &sidecar, Exchange::accept_and_close).await;
    println!("after 1,200 connections: VmRSS {} KiB, RssAnon {} KiB", later.rss_kib, later.anonymous_kib);
    assert!(later.anonymous_kib <= warm.anonymous_kib + 16, "from {warm:?} to {later:?}");
}
