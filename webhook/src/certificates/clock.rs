//! What time it is, for everything about certificates: the time of the API server.
//!
//! A certificate that is made, renewed or expires by the clock of one machine that is wrong would be refused by everybody else. The
//! API server is the client whose opinion counts most, and each of its answers says its time.

use std::time::{Duration, SystemTime};

use http::{Request, Response, header::DATE};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use kube::{Client, client::Body};

/// A difference from the API server's clock that is worth a warning.
const NOTABLE: Duration = Duration::from_mins(1);

/// Reads the time, and warns once if the clock of this machine is wrong.
#[derive(Debug, Default)]
pub(super) struct Clock {
    warned: bool,
}

impl Clock {
    /// The time of the API server, or that of this machine if the API server does not answer: then nothing can be changed anyway.
    pub(super) async fn now(&mut self, client: &Client) -> SystemTime {
        // Any answer will do, also a refusal.
        let request = Request::get("/version").body(Body::empty());
        let request = request.expect("a constant request is well-formed");
        let server = client.send(request).await.ok().and_then(|answer| date(&answer));
        let local = SystemTime::now();
        let Some(server) = server else { return local };
        let off = server.duration_since(local).unwrap_or_else(|ahead| ahead.duration());
        if off > NOTABLE && !self.warned {
            tracing::warn!(
                seconds = off.as_secs(),
                "the clock of this machine differs from the API server's, which is used instead; synchronize the clocks of the nodes (NTP)"
            );
        }
        self.warned = off > NOTABLE;
        server
    }
}

fn date<B>(answer: &Response<B>) -> Option<SystemTime> {
    let date = answer.headers().get(DATE)?.to_str().ok()?;
    let date: Timestamp = DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(date.into())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn server(date: Option<&'static str>) -> Client {
        let answer = move |_: Request<Body>| async move {
            let answer =
                date.into_iter().fold(Response::builder().status(403), |answer, date| answer.header(DATE, date));
            Ok::<_, Infallible>(answer.body(Body::empty()).expect("a response"))
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn the_time_is_that_of_the_api_server_whatever_it_answers() {
        let server = server(Some("Sat, 28 Nov 2026 20:12:18 GMT"));
        let now: SystemTime = "2026-11-28T20:12:18Z".parse::<Timestamp>().expect("a time").into();
        assert_eq!(Clock::default().now(&server).await, now);
    }

    #[tokio::test]
    async fn an_answer_without_a_date_leaves_the_local_time() {
        let before = SystemTime::now();
        let now = Clock::default().now(&server(None)).await;
        assert!(before <= now && now <= SystemTime::now());
    }
}
