//! Harm to a Job.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jobwarden_common::names::SIDECAR_CONTAINER;
use jobwarden_tests::cluster::Wall;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::{end, kill, persist};
use crate::chaos::campaign::{Campaign, Worker};
use crate::chaos::fleet;
use crate::chaos::history::Span;
use crate::chaos::plan::JobFault;

pub(super) async fn harm(
    campaign: &Arc<Campaign>,
    job: &str,
    worker: &Worker,
    fault: JobFault,
    lasting: Duration,
) -> anyhow::Result<()> {
    let cluster = &campaign.ground.cluster;
    campaign.say(format!("{job}: {fault:?}"));
    let jobs = Api::<Job>::namespaced(campaign.ground.client.clone(), campaign.namespace());
    match fault {
        JobFault::KillWorker => kill(campaign, job, worker),
        JobFault::KillSidecar => {
            campaign.note(job, "its sidecar was killed", |_, _| {});
            let (namespace, pod) = (campaign.namespace(), &worker.pod);
            Ok(cluster.kill_process_in(namespace, pod, SIDECAR_CONTAINER, Signal::SIGKILL).await?)
        }
        JobFault::Mute => {
            let wall = Wall::Pod(worker.address.context("the pod has an address")?);
            let node = campaign.history().job(job).context("it is known")?.node.clone();
            campaign.note(job, "its pod was walled off", |job, now| job.muted.push(Span::since(now)));
            cluster.raise(&node, wall).await?;
            sleep(lasting).await;
            let lowered = cluster.lower(&node, wall).await;
            campaign.note(job, "its wall was taken down", |job, now| end(job.muted.last_mut(), now));
            Ok(lowered?)
        }
        JobFault::Delete => {
            jobs.delete(job, &DeleteParams::background()).await.context("deleting it")?;
            campaign.note(job, "was deleted", |job, now| job.deleted = Some(now));
            Ok(())
        }
        JobFault::Suspend => suspend(campaign, &jobs, job, worker, lasting).await,
    }
}

async fn suspend(
    campaign: &Arc<Campaign>,
    jobs: &Api<Job>,
    job: &str,
    worker: &Worker,
    lasting: Duration,
) -> anyhow::Result<()> {
    let set = async |suspend: bool| {
        let patch = Patch::Merge(serde_json::json!({"spec": {"suspend": suspend}}));
        jobs.patch(job, &PatchParams::default(), &patch).await.map(drop).context("changing it")
    };
    campaign.note(job, "was suspended", |job, now| job.suspended.push(Span::since(now)));
    if let Err(error) = set(true).await {
        campaign.note(job, "was not", |job, _| job.suspended.truncate(job.suspended.len().saturating_sub(1)));
        return Err(error);
    }
    sleep(lasting).await;
    persist(async || {
        // It may be gone by now, because its retention is over.
        if jobs.get_opt(job).await?.is_some() { set(false).await } else { Ok(()) }
    })
    .await;
    campaign.note(job, "was resumed", |job, now| {
        end(job.suspended.last_mut(), now);
        (job.submitted, job.started) = (now, None);
    });
    fleet::find_worker(Arc::clone(campaign), job.to_owned(), Some(worker.pod.clone())).await;
    Ok(())
}
