//! Finds out what really happens to the workers: by their processes on this machine, and by what Kubernetes has of their pods.

use std::time::Duration;

use anyhow::Context as _;
use futures::future::try_join;
use jobwarden_common::names::label;
use jobwarden_testbed::Process;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::time::sleep;

use super::history::{PodSeen, Stage};
use super::state::{Campaign, Worker};
use crate::wait;

/// The time between two looks at the processes.
const PROCESS_POLL: Duration = Duration::from_millis(200);
/// The time between two lists of Jobs and pods.
const KUBERNETES_POLL: Duration = Duration::from_secs(2);

/// Records the end of every worker's process, without end.
pub(crate) async fn watch_processes(campaign: &Campaign) {
    loop {
        let ended = |worker: &&Worker| !worker.process.is_alive();
        let ended: Vec<_> = campaign.workers().values().filter(ended).cloned().collect();
        for worker in ended {
            campaign.workers().remove(&worker.pod);
            let now = campaign.now();
            campaign.history().worker_ended(&worker.job, &worker.pod, now);
            campaign.record(&worker.job, &format!("its worker in pod {} ended", worker.pod), |_, _| {});
        }
        sleep(PROCESS_POLL).await;
    }
}

/// Finds the workers that start, and records what Kubernetes has of the pods and when it finishes a Job, without end.
pub(crate) async fn watch_kubernetes(campaign: &Campaign) {
    let client = &campaign.environment.client;
    let jobs = Api::<Job>::namespaced(client.clone(), campaign.namespace());
    let pods = Api::<Pod>::namespaced(client.clone(), campaign.namespace());
    let all = ListParams::default();
    loop {
        sleep(KUBERNETES_POLL).await;
        let asked = campaign.now();
        // The API server may be down.
        let Ok((jobs, pods)) = try_join(jobs.list(&all), pods.list(&all)).await else { continue };
        let seen: Vec<_> = pods.iter().filter_map(see).collect();
        for (pod, seen) in pods.iter().filter_map(|pod| Some((pod, see(pod)?))) {
            if is_new(campaign, &seen)
                && let Ok((worker, age)) = find_worker(campaign, &seen, pod).await
            {
                campaign.record(&worker.job, &format!("its worker was found in pod {}", worker.pod), |job, now| {
                    job.worker_started(&worker.pod, now.saturating_sub(age));
                });
                campaign.workers().insert(worker.pod.clone(), worker);
            }
        }
        campaign.history().see_pods(&seen, asked);
        let (now, wall_clock) = (campaign.now(), Timestamp::now());
        for job in &jobs {
            let Some(finished) = finished_at(job) else { continue };
            let ago = Duration::try_from(wall_clock.duration_since(finished)).unwrap_or_default();
            if let Some(known) = campaign.history().job(&job.name_any()) {
                known.finished.get_or_insert(now.saturating_sub(ago));
            }
        }
    }
}

fn see(pod: &Pod) -> Option<PodSeen> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    Some(PodSeen {
        name: pod.name_any(),
        job: pod.labels().get(label::JOB_NAME)?.clone(),
        stage: match phase {
            Some("Succeeded" | "Failed") => Stage::Ended,
            _ if wait::main_runs(pod) => Stage::Running,
            _ if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) => Stage::Bound,
            _ => Stage::Unscheduled,
        },
        deleting: pod.metadata.deletion_timestamp.is_some(),
    })
}

/// Whether it runs a worker that is to be found. One that exceeds its memory limit ends too early for that.
fn is_new(campaign: &Campaign, pod: &PodSeen) -> bool {
    let mut history = campaign.history();
    let job = history.job(&pod.job).filter(|job| job.kind.duration().is_some());
    pod.stage == Stage::Running && job.is_some_and(|job| !job.knows(&pod.name))
}

/// The worker in a pod, and for how long its process has run.
async fn find_worker(campaign: &Campaign, seen: &PodSeen, pod: &Pod) -> anyhow::Result<(Worker, Duration)> {
    let cluster = &campaign.environment.cluster;
    let process: Process = cluster.process_of(campaign.namespace(), &seen.name, "worker").await?;
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()).context("the pod has no address")?;
    let age = process.age().context("the worker has ended")?;
    Ok((Worker { job: seen.job.clone(), pod: seen.name.clone(), address: address.parse().ok(), process }, age))
}

fn finished_at(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is_final = |it: &&JobCondition| matches!(it.type_.as_str(), "Complete" | "Failed") && it.status == "True";
    Some(conditions.iter().find(is_final)?.last_transition_time.as_ref()?.0)
}
