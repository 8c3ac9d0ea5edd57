//! Takes a sample at every interval and records it in the view.

use std::{path::PathBuf, time::Duration};

use jobwarden_serve::{admin::Gate, logs::with_causes, shutdown::Shutdown};
use tokio::{
    task::{JoinError, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    metrics::Metrics,
    sampler::{Sample, SampleError, Sampler},
    view::View,
    visibility::{self, Blind},
};

/// The sampling thread panicked.
#[derive(Debug, thiserror::Error)]
#[error("the sampling thread exited unexpectedly")]
pub struct WatchError(#[from] JoinError);

/// Why sampling failed.
#[derive(Debug, thiserror::Error)]
enum SamplingError {
    #[error(transparent)]
    Blind(#[from] Blind),
    #[error(transparent)]
    Sample(#[from] SampleError),
}

/// What the sampling task needs.
#[derive(Debug)]
pub struct Watch {
    /// The proc file system.
    pub proc: PathBuf,
    /// Interval between two samples.
    pub interval: Duration,
    /// Where samples are recorded.
    pub view: View,
    /// Metrics of the agent.
    pub metrics: Metrics,
    /// Ready while the processes of the node can be sampled.
    pub sampling: Gate,
}

impl Watch {
    /// Samples until the shutdown.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), WatchError> {
        let Self { proc, interval: every, view, metrics, sampling } = self;
        let mut sampler = Sampler::new(proc.clone());
        let mut ticks = interval(every);
        // After a delay one sample is enough.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_error = None;
        loop {
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let (started, proc) = (Instant::now(), proc.clone());
            // Reading thousands of files takes a while and must not block reports and probes.
            let sampled = spawn_blocking(move || {
                let result = visibility::check(&proc).map_err(SamplingError::from).and_then(|()| Ok(sampler.sample()?));
                (sampler, result)
            });
            let result;
            (sampler, result) = sampled.await?;
            match result {
                Ok(Sample { processes, visited, unreadable }) => {
                    let mut pods = 0;
                    view.sampled(started, |ledger| {
                        ledger.record(&processes);
                        pods = ledger.pods();
                    });
                    metrics.sampled(visited, processes.len(), unreadable, started.elapsed());
                    metrics.set_pods(pods);
                    sampling.ready();
                    if last_error.take().is_some() {
                        tracing::info!("the processes of the node can be sampled again");
                    }
                }
                Err(error) => {
                    let reason = with_causes(&error);
                    metrics.sample_failed();
                    sampling.not_ready(reason.as_str());
                    view.failed(reason.clone());
                    if last_error.as_ref() != Some(&reason) {
                        tracing::error!(reason, "cannot sample the processes of the node");
                        last_error = Some(reason);
                    }
                }
            }
        }
    }
}
