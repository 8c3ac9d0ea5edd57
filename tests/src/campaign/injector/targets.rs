//! Picking the Job of a fault, and killing its worker.

use nix::sys::signal::Signal;

use crate::campaign::history::Condition;
use crate::campaign::state::{Campaign, Worker};

/// A Job whose worker is running: any on this node, or without a node any that no other fault affects.
pub(super) fn pick_worker(campaign: &Campaign, node: Option<&str>, pick: usize) -> Option<(String, Worker)> {
    let history = campaign.history();
    let now = campaign.now();
    let fit: Vec<_> = campaign
        .workers()
        .iter()
        .filter(|(name, _)| {
            history.jobs.iter().find(|job| job.name == **name).is_some_and(|job| {
                if let Some(node) = node {
                    return job.node == node;
                }
                let node = history.nodes.get(&job.node);
                node.is_some_and(|node| node.condition_at(now) == Condition::Healthy)
                    && job.deleted.is_none()
                    && !job.is_suspended()
            })
        })
        .map(|(name, worker)| (name.clone(), worker.clone()))
        .collect();
    (!fit.is_empty()).then(|| fit[pick % fit.len()].clone())
}

pub(super) fn kill(campaign: &Campaign, job: &str, worker: &Worker) -> anyhow::Result<()> {
    campaign.record(job, "its worker was killed", |_, _| {});
    Ok(worker.process.signal(Signal::SIGKILL)?)
}
