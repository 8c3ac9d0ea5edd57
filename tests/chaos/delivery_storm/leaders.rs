//! Kills leader after leader.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use jobwarden_tests::environment::Environment;
use jobwarden_tests::install::NAMESPACE;
use jobwarden_tests::metrics;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use nix::sys::signal::Signal;
use tokio::time::sleep;

/// For how many milliseconds a leader leads before it is killed: some get little further than to read the outbox.
const TERM: std::ops::Range<u64> = 500..6_000;

/// The time between two looks for a leader.
const POLL: Duration = Duration::from_millis(200);

/// The leaders that were killed.
#[derive(Default)]
pub(super) struct LeaderKills {
    /// How many there were.
    pub(super) killed: u32,
}

impl LeaderKills {
    /// Kills leader after leader, each with SIGKILL. Returns only if it cannot go on.
    pub(super) async fn kill_leaders(&mut self, environment: &Environment) -> anyhow::Error {
        let Err(error) = self.kill_on(environment).await;
        error
    }

    async fn kill_on(&mut self, environment: &Environment) -> anyhow::Result<Infallible> {
        let mut last = None;
        loop {
            let leader = next_leader(environment, last.as_deref()).await;
            // The fault's own pace.
            sleep(Duration::from_millis(fastrand::u64(TERM))).await;
            environment.cluster.kill_process_in(NAMESPACE, &leader, "reaper", Signal::SIGKILL).await?;
            self.killed += 1;
            replace(environment, &leader).await?;
            last = Some(leader);
        }
    }
}

/// Waits until another reaper leads.
async fn next_leader(environment: &Environment, last: Option<&str>) -> String {
    loop {
        // Between two leaders there is none.
        if let Ok(leader) = metrics::leader(&environment.client).await
            && Some(leader.name_any().as_str()) != last
        {
            return leader.name_any();
        }
        sleep(POLL).await;
    }
}

/// Deletes the pod of the killed process, so that the Deployment creates another. The kubelet would wait for 10 s, 20 s, … 5 min before it
/// starts the container again, and after a few kills there would be no reaper at all.
async fn replace(environment: &Environment, pod: &str) -> anyhow::Result<()> {
    let pods = Api::<Pod>::namespaced(environment.client.clone(), NAMESPACE);
    let at_once = DeleteParams::default().grace_period(0);
    pods.delete(pod, &at_once).await.with_context(|| format!("deleting {pod}"))?;
    Ok(())
}
