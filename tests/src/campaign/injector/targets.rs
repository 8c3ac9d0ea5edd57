//! Picking the Job of a fault, and killing its worker.

use nix::sys::signal::Signal;

use crate::campaign::state::{Campaign, Worker};

/// A Job whose worker is running: any on this node, or without a node any that no other fault affects.
pub(super) fn pick_worker(campaign: &Campaign, node: Option<&str>, pick: usize) -> Option<(String, Worker)> {
    let history = campaign.history();
    let now = campaign.now();
    let is_fit = |worker: &Worker| {
        history.jobs.iter().find(|job| job.name == worker.job).is_some_and(|job| {
            if let Some(node) = node {
                return job.node == node;
            }
            let open = history.nodes.get(&job.node).is_some_and(|node| node.is_open(now));
            let current = job.current().is_some_and(|attempt| attempt.pod == worker.pod);
            open && current && job.is_open(now) && !job.is_paused()
        })
    };
    let fit: Vec<_> = campaign.workers().values().filter(|worker| is_fit(worker)).cloned().collect();
    let picked = fit.get(pick % fit.len().max(1))?;
    Some((picked.job.clone(), picked.clone()))
}

pub(super) fn kill(campaign: &Campaign, job: &str, worker: &Worker) -> anyhow::Result<()> {
    campaign.record(job, "its worker was killed", |job, now| job.killed.push(now));
    Ok(worker.process.signal(Signal::SIGKILL)?)
}
