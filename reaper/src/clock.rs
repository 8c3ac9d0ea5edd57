//! What time it is, for everything that is compared with a time in an object: the time of the API server.
//!
//! The clock of this machine may be minutes away from it, and nothing may depend on that. Each answer of the API server says its time
//! ([`ServerClock`]); `Watching` reads it from the answers to this process. There is one API server, so there is one clock.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use http::{Request, Response, header::DATE};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimeParser};
use jobwarden_core::server_clock::ServerClock;
use kube::{Client, Config, client::ClientBuilder};
use tower::Service;

static CLOCK: Mutex<Clock> = Mutex::new(Clock { server: None, skew: SignedDuration::ZERO });

/// A difference from the API server's clock that is worth a warning.
const NOTABLE: Duration = Duration::from_secs(5);

struct Clock {
    server: Option<ServerClock>,
    /// Added to the clock of this machine, for tests.
    skew: SignedDuration,
}

/// The time of the API server; that of this machine until the API server has answered for the first time.
pub fn now() -> Timestamp {
    let clock = lock();
    clock.server.as_ref().and_then(|server| server.now(Instant::now())).unwrap_or_else(|| clock.local())
}

/// Pretends that the clock of this machine is wrong by so much.
pub fn skew(by: SignedDuration) {
    lock().skew = by;
}

/// A client that keeps the clock.
///
/// # Errors
///
/// There is no configuration, or it cannot be used.
pub async fn client() -> Result<Client, kube::Error> {
    let config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    let keep = tower::layer::layer_fn(|inner| Watching { inner });
    Ok(ClientBuilder::try_from(config)?.with_layer(&keep).build())
}

fn lock() -> MutexGuard<'static, Clock> {
    CLOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clock {
    fn local(&self) -> Timestamp {
        Timestamp::now().checked_add(self.skew).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn answered(&mut self, date: Timestamp, sent: Instant, received: Instant) {
        if self.server.is_none() {
            let ahead = self.local().duration_since(date);
            if ahead.unsigned_abs() > NOTABLE {
                let seconds_ahead = ahead.as_secs();
                tracing::warn!(
                    seconds_ahead,
                    "the clock of this machine differs from the API server's, which is used instead; synchronize the clocks of the nodes (NTP)"
                );
            }
        }
        self.server.get_or_insert_default().answered(date, sent, received);
    }
}

/// Reads the time from every answer.
#[derive(Clone, Debug)]
struct Watching<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Watching<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let sent = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if let Some(date) = date(&answer) {
                lock().answered(date, sent, Instant::now());
            }
            Ok(answer)
        })
    }
}

fn date<R>(answer: &Response<R>) -> Option<Timestamp> {
    let date = answer.headers().get(DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(date).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(date: &str) -> Response<()> {
        Response::builder().header(DATE, date).body(()).expect("a response")
    }

    #[test]
    fn the_date_of_an_answer_is_its_time() {
        let at = date(&answer("Sat, 28 Nov 2026 20:12:18 GMT"));
        assert_eq!(at, "2026-11-28T20:12:18Z".parse().ok());
        assert_eq!(date(&answer("yesterday")), None);
        assert_eq!(date(&Response::new(())), None);
    }

    #[test]
    fn the_clock_of_the_machine_counts_only_until_the_api_server_has_answered() {
        let mut clock = Clock { server: None, skew: SignedDuration::from_mins(-2) };
        let local = clock.local();
        assert!(Timestamp::now().duration_since(local) >= SignedDuration::from_secs(119));
        let (at, date) = (Instant::now(), "2026-11-28T20:12:18Z".parse().expect("a time"));
        clock.answered(date, at, at);
        assert_eq!(clock.server.and_then(|server| server.now(at)), Some(date));
    }
}
