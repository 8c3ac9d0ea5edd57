//! Faults of one Job.

use std::time::Duration;

use anyhow::Context as _;
use jobwarden_common::names::SIDECAR_CONTAINER;
use jobwarden_testbed::Traffic;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::recovery::{REST, persist};
use super::targets::kill;
use crate::campaign::fault_plan::JobFault;
use crate::campaign::history::{Deletion, Propagation, Span, close};
use crate::campaign::state::{Campaign, Worker};

pub(super) async fn inject(
    campaign: &Campaign,
    job: &str,
    worker: &Worker,
    fault: JobFault,
    duration: Duration,
) -> anyhow::Result<()> {
    let cluster = &campaign.environment.cluster;
    campaign.print(format!("{job}: {fault:?} for {} s", duration.as_secs()));
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
        JobFault::Suspend => {
            let (stop, go) = (json!({"suspend": true}), json!({"suspend": false}));
            pause(campaign, &jobs, job, duration, ("was suspended", stop), ("was resumed", go)).await
        }
        JobFault::ScaleDown => {
            let (stop, go) = (json!({"parallelism": 0}), json!({"parallelism": 1}));
            pause(campaign, &jobs, job, duration, ("was scaled down", stop), ("was scaled up", go)).await
        }
        JobFault::Delete(propagation) => delete(campaign, &jobs, job, propagation).await,
    }
}

/// Makes the Job want no pod for a while. Whether its pod is stopped meanwhile is for Kubernetes to decide.
async fn pause(
    campaign: &Campaign,
    jobs: &Api<Job>,
    job: &str,
    duration: Duration,
    (stopped, stop): (&str, Value),
    (resumed, go): (&str, Value),
) -> anyhow::Result<()> {
    let set = async |spec: &Value| {
        let patch = Patch::Merge(json!({ "spec": spec }));
        jobs.patch(job, &PatchParams::default(), &patch).await.map(drop).context("patching the Job")
    };
    campaign.record(job, stopped, |job, now| job.pauses.push(Span::open(now)));
    let patched = set(&stop).await;
    if patched.is_ok() {
        sleep(duration).await;
    } else {
        campaign.record(job, "or not: the API server gave no answer", |_, _| {});
    }
    persist(async || {
        // The Job may have been deleted after its retention.
        if jobs.get_opt(job).await?.is_some() { set(&go).await } else { Ok(()) }
    })
    .await;
    campaign.record(job, resumed, |job, now| {
        close(job.pauses.last_mut(), now);
        (job.submitted, job.bound) = (now, None);
    });
    sleep(REST).await;
    patched
}

async fn delete(campaign: &Campaign, jobs: &Api<Job>, job: &str, propagation: Propagation) -> anyhow::Result<()> {
    let parameters = match propagation {
        Propagation::Background => DeleteParams::background(),
        Propagation::Foreground => DeleteParams::foreground(),
        Propagation::Orphan => DeleteParams::orphan(),
    };
    campaign.record(job, &format!("was deleted ({propagation:?})"), |job, now| {
        job.deleted = Some(Deletion { asked: now, done: None, propagation });
    });
    let existed = persist(async || match jobs.delete(job, &parameters).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error).context("deleting the Job"),
    })
    .await;
    campaign.record(job, if existed { "is being deleted" } else { "was gone already" }, |job, now| {
        // An earlier attempt may have deleted it without an answer.
        if let Some(deletion) = job.deleted.as_mut().filter(|_| existed) {
            deletion.done = Some(now);
        }
    });
    Ok(())
}
