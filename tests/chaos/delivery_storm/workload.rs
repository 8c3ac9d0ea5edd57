//! The Jobs of the storm.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{FINALIZER, label};
use jobwarden_testbed::progress;
use jobwarden_tests::delivery_account::{EXIT_CODE, End};
use jobwarden_tests::environment::{ENDLESS, Environment};
use jobwarden_tests::job::Worker;
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use tokio::time::sleep;

/// How many Jobs are open at the same time: as many as start on two cores in the time that one runs.
const AT_ONCE: usize = 40;

/// The time between two looks at the Jobs.
const POLL: Duration = Duration::from_secs(1);

/// Of ten Jobs, so many end in each way.
const MIX: [(End, usize); 4] = [(End::Succeeds, 4), (End::Fails, 3), (End::IsDeleted, 2), (End::RunsOutOfMemory, 1)];

/// Jobs that are created little by little.
pub(super) struct Workload<'a> {
    environment: &'a Environment,
    namespace: &'a str,
    /// Those that were created, by UID.
    pub(super) jobs: BTreeMap<String, (String, End)>,
    planned: VecDeque<(String, End)>,
    /// The names of those that were deleted.
    deleted: BTreeSet<String>,
}

impl<'a> Workload<'a> {
    pub(super) fn new(environment: &'a Environment, namespace: &'a str, count: usize) -> Self {
        let ends: Vec<End> = MIX.iter().flat_map(|(end, times)| std::iter::repeat_n(*end, *times)).collect();
        let planned = (0..count).zip(ends.into_iter().cycle());
        let planned = planned.map(|(number, end)| (format!("{}-{number}", end.as_str()), end)).collect();
        Self { environment, namespace, jobs: BTreeMap::new(), planned, deleted: BTreeSet::new() }
    }

    /// Creates the Jobs, a few at a time, deletes those that are to be deleted once they run, and returns when all have ended.
    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        let step = progress::step("a storm of Jobs");
        let jobs = Api::<Job>::namespaced(self.environment.client.clone(), self.namespace);
        loop {
            let open = jobs.list(&ListParams::default()).await.context("listing the Jobs")?;
            let open = open.iter().filter(|job| is_open(job)).count();
            step.detail(format!("{} created, {open} open", self.jobs.len()));
            if open == 0 && self.planned.is_empty() {
                return Ok(());
            }
            for _ in open..AT_ONCE {
                let Some((name, end)) = self.planned.pop_front() else { break };
                self.create(name, end).await?;
            }
            self.delete_running(&jobs).await?;
            sleep(POLL).await;
        }
    }

    async fn create(&mut self, name: String, end: End) -> anyhow::Result<()> {
        let job = self.environment.submit(self.namespace, &worker(&name, end)).await?;
        ensure!(job.finalizers().iter().any(|it| it == FINALIZER), "Job {name} was not enrolled");
        self.jobs.insert(job.uid().context("the Job has no UID")?, (name, end));
        Ok(())
    }

    async fn delete_running(&mut self, jobs: &Api<Job>) -> anyhow::Result<()> {
        let pods = Api::<Pod>::namespaced(self.environment.client.clone(), self.namespace);
        let pods = pods.list(&ListParams::default()).await.context("listing the pods of the Jobs")?;
        for pod in pods.iter().filter(|pod| wait::main_runs(pod)) {
            let Some(name) = pod.labels().get(label::JOB_NAME) else { continue };
            if name.starts_with(End::IsDeleted.as_str()) && self.deleted.insert(name.clone()) {
                jobs.delete(name, &DeleteParams::background()).await.with_context(|| format!("deleting {name}"))?;
            }
        }
        Ok(())
    }
}

fn worker(name: &str, end: End) -> Worker {
    match end {
        End::Succeeds => Worker::new(name, 1, Duration::from_secs(2)),
        End::Fails => Worker::new(name, 1, Duration::from_secs(1)).argument(format!("--exit={EXIT_CODE}")),
        End::RunsOutOfMemory => Worker::new(name, 256, ENDLESS).memory_limit(32),
        End::IsDeleted => Worker::new(name, 1, ENDLESS).grace(1),
    }
}

/// Whether the Job may still do something: it is neither finished nor deleted.
fn is_open(job: &Job) -> bool {
    let is_finished = ["Complete", "Failed"].iter().any(|it| wait::reason_of(Some(job), it).is_some());
    !is_finished && job.metadata.deletion_timestamp.is_none()
}
