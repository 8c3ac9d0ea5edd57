//! Reports what is seen to the reaper, for ever.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::HeaderValue;
use jobwarden_common::{names::route, observation::ReportReply};
use jobwarden_serve::shutdown::Shutdown;
use tokio::time::{Instant, sleep};

use crate::{
    connection::{Connection, PostError, bearer},
    endpoint::{Endpoint, EndpointError, Source},
    metrics::Metrics,
    view::View,
};

/// The shortest and the longest pause that a reply may ask for.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(1));

/// The first and the longest pause after failures.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// While failures last, one log line in so long.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// Why a report came to nothing.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("it is not known where the reaper is")]
    Endpoint(#[from] EndpointError),
    #[error("the report was not taken")]
    Post(#[from] PostError),
    #[error("the answer is no reply to a report")]
    Reply(#[source] serde_json::Error),
}

/// What a reporter needs.
#[derive(Debug)]
pub struct Reporter {
    /// What is reported.
    pub view: View,
    /// Whom it is reported to.
    pub source: Source,
    /// The token that says which node this is.
    pub token_file: PathBuf,
    /// A sample older than this is as good as none.
    pub stale_after: Duration,
    /// What is told of it.
    pub metrics: Metrics,
}

/// What it holds while it runs.
#[derive(Debug, Default)]
struct Line {
    seq: u64,
    endpoint: Option<Endpoint>,
    connection: Option<Connection>,
    /// Whether something failed since the endpoint was read.
    suspect: bool,
}

impl Reporter {
    /// Reports until the shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        let (mut line, mut trouble) = (Line::default(), Trouble::default());
        loop {
            let result = tokio::select! {
                () = shutdown.requested() => return,
                result = self.report(&mut line) => result,
            };
            let pause = match result {
                Ok(pause) => {
                    self.metrics.acknowledged();
                    trouble.is_over();
                    jitter(pause, fastrand::f64())
                }
                Err(error) => {
                    self.metrics.report_failed();
                    (line.connection, line.suspect) = (None, true);
                    trouble.goes_on(&error);
                    backoff(trouble.failures, fastrand::f64())
                }
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Makes one report; how long to wait until the next.
    async fn report(&self, line: &mut Line) -> Result<Duration, ReportError> {
        self.find(line).await?;
        let report = self.view.report(line.seq, Instant::now(), self.stale_after);
        line.seq += 1;
        let json = Bytes::from(serde_json::to_vec(&report).expect("plain data with string keys is valid JSON"));
        let token = bearer(&self.token_file).await?;
        let answer = line.post(token, json).await?;
        let reply: ReportReply = serde_json::from_slice(&answer).map_err(ReportError::Reply)?;

        self.view.acknowledged(reply.pods);
        if let (Some(ca), Some(endpoint)) = (reply.ca, &mut line.endpoint) {
            match endpoint.trust(&ca) {
                Ok(()) => tracing::info!("trusting the CA bundle that the reaper has sent"),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "keeping the CA bundle there is");
                }
            }
        }
        Ok(Duration::from_millis(reply.next_in_ms).clamp(PAUSES.0, PAUSES.1))
    }

    /// Sees to it that there is an endpoint, a fresh one after a failure. One that cannot be read anew is better than none.
    async fn find(&self, line: &mut Line) -> Result<(), EndpointError> {
        if line.endpoint.is_some() && !line.suspect {
            return Ok(());
        }
        match self.source.read().await {
            Ok(endpoint) => (line.endpoint, line.suspect) = (Some(endpoint), false),
            Err(error) if line.endpoint.is_none() => return Err(error),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::debug!(error, "cannot read anew where the reaper is; going by what is known");
            }
        }
        Ok(())
    }
}

impl Line {
    /// Posts over the connection there is. The other end may have closed it since the last report, so that a failure of
    /// an old connection says nothing yet: a report may be made twice.
    async fn post(&mut self, token: HeaderValue, json: Bytes) -> Result<Bytes, PostError> {
        if let Some(mut connection) = self.connection.take() {
            match connection.post(route::OBSERVATIONS, token.clone(), json.clone()).await {
                Ok(answer) => {
                    self.connection = Some(connection);
                    return Ok(answer);
                }
                Err(PostError::Broken(error)) => tracing::debug!(%error, "connecting anew"),
                Err(error) => return Err(error),
            }
        }
        let endpoint = self.endpoint.as_ref().expect("found before a report is made");
        let mut connection = Connection::open(endpoint).await?;
        let answer = connection.post(route::OBSERVATIONS, token, json).await?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

/// Failures in a row, told in few lines.
#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
    logged: Option<Instant>,
}

impl Trouble {
    fn goes_on(&mut self, error: &ReportError) {
        self.failures = self.failures.saturating_add(1);
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) {
            let error: &dyn std::error::Error = error;
            tracing::warn!(error, failures = self.failures, "cannot report to the reaper; trying again");
            self.logged = Some(Instant::now());
        }
    }

    fn is_over(&mut self) {
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "reporting to the reaper again");
        }
        *self = Self::default();
    }
}

/// Within ±10 %, so that the agents of a cluster do not report in step; `random` is of 0 to 1.
fn jitter(pause: Duration, random: f64) -> Duration {
    pause.mul_f64(0.9 + 0.2 * random)
}

/// The pause after so many failures in a row, at least half of it random: it doubles up to the longest.
fn backoff(failures: u32, random: f64) -> Duration {
    let doubled = BACKOFF.0.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(BACKOFF.1).mul_f64(0.5 + 0.5 * random)
}

#[cfg(test)]
mod tests;
