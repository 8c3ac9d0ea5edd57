//! Faults of one Job.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jobwarden_common::names::SIDECAR_CONTAINER;
use jobwarden_testbed::Traffic;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::recovery::persist;
use super::targets::kill;
use crate::campaign::fault_plan::JobFault;
use crate::campaign::history::{Span, close};
use crate::campaign::state::{Campaign, Worker};
use crate::campaign::workload;

pub(super) async fn inject(
    campaign: &Arc<Campaign>,
    job: &str,
    worker: &Worker,
    fault: JobFault,
    duration: Duration,
) -> anyhow::Result<()> {
    let cluster = &campaign.environment.cluster;
    campaign.print(format!("{job}: {fault:?}"));
    let jobs = Api::<Job>::namespaced(campaign.environment.client.clone(), campaign.namespace());
    match fault {
        JobFault::KillWorker => kill(campaign, job, worker),
        JobFault::KillSidecar => {
            campaign.record(job, "its sidecar was killed", |_, _| {});
            let (namespace, pod) = (campaign.namespace(), &worker.pod);
            Ok(cluster.kill_process_in(namespace, pod, SIDECAR_CONTAINER, Signal::SIGKILL).await?)
        }
        JobFault::BlockSidecar => {
            let traffic = Traffic::FromPod(worker.address.context("the pod has no address")?);
            let node = campaign.history().job(job).context("the Job is unknown")?.node.clone();
            campaign.record(job, "its pod's traffic was blocked", |job, now| job.sidecar_blocked.push(Span::open(now)));
            cluster.block(&node, traffic).await?;
            sleep(duration).await;
            let unblocked = cluster.unblock(&node, traffic).await;
            campaign.record(job, "its pod's traffic was unblocked", |job, now| {
                close(job.sidecar_blocked.last_mut(), now);
            });
            Ok(unblocked?)
        }
        JobFault::Delete => {
            jobs.delete(job, &DeleteParams::background()).await.context("deleting the Job")?;
            campaign.record(job, "was deleted", |job, now| job.deleted = Some(now));
            Ok(())
        }
        JobFault::Suspend => suspend(campaign, &jobs, job, worker, duration).await,
    }
}

async fn suspend(
    campaign: &Arc<Campaign>,
    jobs: &Api<Job>,
    job: &str,
    worker: &Worker,
    duration: Duration,
) -> anyhow::Result<()> {
    let set = async |suspend: bool| {
        let patch = Patch::Merge(serde_json::json!({"spec": {"suspend": suspend}}));
        jobs.patch(job, &PatchParams::default(), &patch).await.map(drop).context("patching the Job")
    };
    campaign.record(job, "was suspended", |job, now| job.suspended.push(Span::open(now)));
    if let Err(error) = set(true).await {
        campaign.record(job, "could not be suspended", |job, _| {
            job.suspended.truncate(job.suspended.len().saturating_sub(1));
        });
        return Err(error);
    }
    sleep(duration).await;
    persist(async || {
        // The Job may have been deleted after its retention.
        if jobs.get_opt(job).await?.is_some() { set(false).await } else { Ok(()) }
    })
    .await;
    campaign.record(job, "was resumed", |job, now| {
        close(job.suspended.last_mut(), now);
        (job.submitted, job.started) = (now, None);
    });
    workload::find_worker(Arc::clone(campaign), job.to_owned(), Some(worker.pod.clone())).await;
    Ok(())
}
