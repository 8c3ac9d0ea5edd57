//! Reports observations to the reaper.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use jobwarden_common::{names::route, observation::ReportReply};
use jobwarden_serve::{
    client::{Endpoint, PostError, TokenClient, TokenFile},
    logs::with_causes,
    shutdown::Shutdown,
};
use tokio::time::{Instant, sleep};

use crate::{
    endpoint::{Source, SourceError},
    metrics::Metrics,
    view::View,
};

/// Bounds of the pause that a reply asks for.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(1));

/// The first and the longest pause after failures.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// How often a lasting failure is logged.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Why a report failed.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("the endpoint of the reaper is unknown")]
    Source(#[from] SourceError),
    #[error("cannot post the report")]
    Post(#[from] PostError),
    #[error("invalid reply of the reaper")]
    Reply(#[source] serde_json::Error),
}

/// What the reporter needs.
#[derive(Debug)]
pub struct Reporter {
    /// The observations.
    pub view: View,
    /// Where the endpoint of the reaper is read from.
    pub source: Source,
    /// The token that identifies this node.
    pub token_file: PathBuf,
    /// A report is blind if the last sample is older than this.
    pub stale_after: Duration,
    /// Metrics of the agent.
    pub metrics: Metrics,
}

/// State of the running reporter.
#[derive(Debug)]
struct Session {
    seq: u64,
    client: TokenClient,
    endpoint: Option<Endpoint>,
    /// Whether a report failed since the endpoint was read.
    failed: bool,
}

impl Reporter {
    /// Reports until the shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        let client = TokenClient::new(TokenFile::new(self.token_file.clone()));
        let mut session = Session { seq: 0, client, endpoint: None, failed: false };
        let mut failures = Failures::default();
        loop {
            let result = tokio::select! {
                () = shutdown.requested() => return,
                result = self.report(&mut session) => result,
            };
            let pause = match result {
                Ok(pause) => {
                    self.metrics.acknowledged();
                    failures.end();
                    jitter(pause, fastrand::f64())
                }
                Err(error) => {
                    self.metrics.report_failed();
                    session.client.disconnect();
                    session.failed = true;
                    failures.add(&error);
                    backoff(failures.count, fastrand::f64())
                }
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Sends one report and returns the pause until the next.
    async fn report(&self, session: &mut Session) -> Result<Duration, ReportError> {
        let Session { seq, client, endpoint, failed } = session;
        let endpoint = self.current_endpoint(endpoint, failed).await?;
        let report = self.view.report(*seq, Instant::now(), self.stale_after);
        *seq += 1;
        let json = Bytes::from(serde_json::to_vec(&report).expect("plain data with string keys is valid JSON"));
        let response = client.post(endpoint, route::OBSERVATIONS, json).await?;
        let reply: ReportReply = serde_json::from_slice(&response).map_err(ReportError::Reply)?;

        self.view.acknowledged(reply.pods);
        if let Some(ca) = reply.ca {
            match endpoint.trust(&ca) {
                Ok(()) => tracing::info!("CA bundle updated by the reaper"),
                Err(error) => {
                    tracing::warn!(
                        error = with_causes(&error),
                        "invalid CA bundle in a reply; keeping the previous one"
                    );
                }
            }
        }
        Ok(Duration::from_millis(reply.next_in_ms).clamp(PAUSES.0, PAUSES.1))
    }

    /// Reads the endpoint if it is unknown, and again after a failure. If that fails, the known endpoint stays in use.
    async fn current_endpoint<'a>(
        &self,
        known: &'a mut Option<Endpoint>,
        failed: &mut bool,
    ) -> Result<&'a mut Endpoint, SourceError> {
        if known.is_none() || *failed {
            match self.source.read().await {
                Ok(endpoint) => (*known, *failed) = (Some(endpoint), false),
                Err(error) if known.is_none() => return Err(error),
                Err(error) => {
                    let error = with_causes(&error);
                    tracing::debug!(error, "cannot read the endpoint of the reaper again; keeping the known endpoint");
                }
            }
        }
        Ok(known.as_mut().expect("read above if it was unknown"))
    }
}

/// Consecutive failures, logged at most once in [`LOG_INTERVAL`].
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    logged: Option<Instant>,
}

impl Failures {
    fn add(&mut self, error: &ReportError) {
        self.count = self.count.saturating_add(1);
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            tracing::warn!(error = with_causes(error), failures = self.count, "cannot report to the reaper; retrying");
            self.logged = Some(Instant::now());
        }
    }

    fn end(&mut self) {
        if self.count > 0 {
            tracing::info!(failures = self.count, "reports to the reaper succeed again");
        }
        *self = Self::default();
    }
}

/// Within ±10 %, so that the agents of a cluster do not report in step; `random` is between 0 and 1.
fn jitter(pause: Duration, random: f64) -> Duration {
    pause.mul_f64(0.9 + 0.2 * random)
}

/// The pause after this many consecutive failures: it doubles up to the longest, and up to half of it is random.
fn backoff(failures: u32, random: f64) -> Duration {
    let doubled = BACKOFF.0.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(BACKOFF.1).mul_f64(0.5 + 0.5 * random)
}

#[cfg(test)]
mod tests;
