//! Takes a sample at every interval and enters it in the view.

use std::{path::PathBuf, time::Duration};

use jobwarden_serve::{admin::Gate, shutdown::Shutdown};
use tokio::{
    task::{JoinError, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    metrics::Metrics,
    sampler::{Sample, SampleError, Sampler},
    sight::{self, Blind},
    view::View,
};

/// The thread that samples has panicked.
#[derive(Debug, thiserror::Error)]
#[error("sampling has failed for good")]
pub struct WatchError(#[from] JoinError);

/// Why there is no sample.
#[derive(Debug, thiserror::Error)]
enum Unseen {
    #[error(transparent)]
    Blind(#[from] Blind),
    #[error(transparent)]
    Sample(#[from] SampleError),
}

/// What the watch needs.
#[derive(Debug)]
pub struct Watch {
    /// The proc file system.
    pub proc: PathBuf,
    /// From one sample to the next.
    pub interval: Duration,
    /// Where samples are entered.
    pub view: View,
    /// What is told of them.
    pub metrics: Metrics,
    /// Ready while samples show the node's processes.
    pub sampling: Gate,
}

impl Watch {
    /// Samples until the shutdown.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), WatchError> {
        let Self { proc, interval: every, view, metrics, sampling } = self;
        let mut sampler = Sampler::new(proc.clone());
        let mut ticks = interval(every);
        // After a stall one sample is enough.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_trouble = None;
        loop {
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let (started, proc) = (Instant::now(), proc.clone());
            // Reading thousands of files takes its time; meanwhile reports and probes go on.
            let sampled = spawn_blocking(move || {
                let result = sight::look(&proc).map_err(Unseen::from).and_then(|()| Ok(sampler.sample()?));
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
                    metrics.remembers(pods);
                    sampling.ready();
                    if last_trouble.take().is_some() {
                        tracing::info!("the node's processes can be seen again");
                    }
                }
                Err(error) => {
                    let reason = with_causes(&error);
                    metrics.sample_failed();
                    sampling.not_ready(reason.as_str());
                    view.blinded(reason.clone());
                    if last_trouble.as_ref() != Some(&reason) {
                        tracing::error!(reason, "cannot see the node's processes");
                        last_trouble = Some(reason);
                    }
                }
            }
        }
    }
}

/// An error and what caused it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
