//! The main loop: send a beat, wait, send the next.

use std::{
    error::Error,
    future::Future,
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use jobwarden_common::beat::{Beat, BeatReply, Command, Phase};
use tokio::time::{self, timeout_at};

use crate::{client::Client, config::Config, log::log_line, log_throttle::LogThrottle, schedule::Schedule};

/// How long a beat in flight and the `ending` beat may take together after the kubelet's SIGTERM: the pod's termination waits
/// for them.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Sends beats until `shutdown` completes, then sends an `ending` beat if the reaper ever replied.
pub(crate) async fn run(config: Config, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    let mut schedule = Schedule::new(config.interval);
    let mut throttle = LogThrottle::default();
    let mut client = Client::new(config);
    let mut replied = false;

    for seq in 0.. {
        let start = time::Instant::now();
        // A reaper that never replied does not know this pod, so its end need not be reported.
        let grace = if replied { SHUTDOWN_GRACE } else { Duration::ZERO };
        let request = client.send(Beat { seq, phase: Phase::Running });
        let reply = match until_shutdown(request, shutdown.as_mut(), grace).await {
            Outcome::Completed(reply) => reply,
            Outcome::ShuttingDown { deadline } => return send_ending(&mut client, seq + 1, replied, deadline).await,
        };
        match reply {
            Ok(BeatReply { command: Command::Stop, .. }) => {
                client.disconnect();
                log_line("the reaper abandoned this pod and asked for no more heartbeats; heartbeats stop");
                return shutdown.await;
            }
            Ok(BeatReply { next_in_ms, command: Command::Continue, ca }) => {
                replied = true;
                schedule.succeeded(Duration::from_millis(next_in_ms));
                if let Some(Err(error)) = ca.map(|pem| client.offer_ca(pem)) {
                    log_failure(&mut throttle, "rejected an invalid CA bundle from the reaper", &error);
                }
            }
            Err(error) => {
                schedule.failed();
                log_failure(&mut throttle, "heartbeat failed", &error);
            }
        }
        tokio::select! {
            () = time::sleep_until(start + schedule.wait(fastrand::f64())) => {}
            () = shutdown.as_mut() => {
                return send_ending(&mut client, seq + 1, replied, time::Instant::now() + SHUTDOWN_GRACE).await;
            }
        }
    }
}

/// The result of a request that a shutdown may interrupt.
enum Outcome<T> {
    /// The request completed.
    Completed(T),
    /// The shutdown signal arrived; all remaining work must finish by `deadline`.
    ShuttingDown { deadline: time::Instant },
}

/// Awaits `request`; once `shutdown` completes, for at most `grace` longer. A request in flight may finish and is not dropped:
/// its `running` beat could otherwise arrive after the `ending` beat and revoke it.
async fn until_shutdown<T>(
    request: impl Future<Output = T>,
    shutdown: Pin<&mut impl Future<Output = ()>>,
    grace: Duration,
) -> Outcome<T> {
    let mut request = pin!(request);
    tokio::select! {
        biased;
        () = shutdown => {}
        reply = request.as_mut() => return Outcome::Completed(reply),
    }
    let deadline = time::Instant::now() + grace;
    let _ = timeout_at(deadline, request).await;
    Outcome::ShuttingDown { deadline }
}

/// Reports that this pod is ending, if the reaper ever replied. A failure is ignored: the process exits next.
async fn send_ending(client: &mut Client, seq: u64, replied: bool, deadline: time::Instant) {
    if replied {
        let _ = timeout_at(deadline, client.send(Beat { seq, phase: Phase::Ending })).await;
    }
}

/// Logs `what` with the error and its sources, unless `throttle` suppresses the line.
fn log_failure(throttle: &mut LogThrottle, what: &str, error: &dyn Error) {
    if let Some(count) = throttle.record(Instant::now()) {
        let mut text = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        log_line(&format!("{text} (failures since the last log line: {count}; retrying, the job is not affected)"));
    }
}
