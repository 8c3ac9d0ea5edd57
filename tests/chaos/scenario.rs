//! What every test uses: its own namespace with a bystander Job, and a check of all notifications about that namespace.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{FINALIZER, reason};
use jobwarden_common::notification::{CloudEvent, OutcomeKind};
use jobwarden_testbed::{Process, TempNamespace};
use jobwarden_tests::environment::{ENDLESS, Environment, LeasedNode, RECOVERY, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::receiver::Received;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{reaper_api, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};

/// How long after its last sign of life a worker counts as lost in these tests.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(30);

const BYSTANDER: &str = "bystander";

/// The namespace of a test.
pub(crate) struct Scenario<'a> {
    pub(crate) environment: &'a Environment,
    namespace: TempNamespace,
    bystander: Running,
    expected: Vec<Received>,
}

/// A running worker that is reported alive.
pub(crate) struct Running {
    pub(crate) pod: Pod,
    pub(crate) process: Process,
}

impl<'a> Scenario<'a> {
    /// A scenario whose bystander is on the node that no test damages.
    pub(crate) async fn open(cluster: &'a SharedCluster, name: &str) -> anyhow::Result<Self> {
        Self::with_bystander_on(cluster, name, HOME).await
    }

    /// A scenario whose bystander is on this node and survives the fault.
    pub(crate) async fn with_bystander_on(cluster: &'a SharedCluster, name: &str, node: &str) -> anyhow::Result<Self> {
        let environment = cluster.environment().await?;
        let namespace = environment.enrolled_namespace(name).await?;
        let bystander = start(environment, &namespace, &Worker::new(BYSTANDER, 4, ENDLESS).on_node(node)).await?;
        Ok(Self { environment, namespace, bystander, expected: Vec::new() })
    }

    pub(crate) fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// Creates the Job and waits until its worker is running and reported alive.
    pub(crate) async fn start(&self, worker: &Worker) -> anyhow::Result<Running> {
        start(self.environment, &self.namespace, worker).await
    }

    /// Creates the Job.
    pub(crate) async fn submit(&self, worker: &Worker) -> anyhow::Result<()> {
        self.environment.submit(self.namespace(), worker).await.map(drop)
    }

    /// The first process of a pod's main container.
    pub(crate) async fn process(&self, pod: &Pod) -> anyhow::Result<Process> {
        Ok(self.environment.cluster.process_of(self.namespace(), &pod.name_any(), "worker").await?)
    }

    /// Sets fields of a Job's spec.
    pub(crate) async fn set(&self, job: &str, spec: serde_json::Value) -> anyhow::Result<()> {
        let patch = Patch::Merge(serde_json::json!({ "spec": spec }));
        let jobs = Api::<Job>::namespaced(self.environment.client.clone(), self.namespace());
        jobs.patch(job, &PatchParams::default(), &patch).await.with_context(|| format!("patching Job {job}"))?;
        Ok(())
    }

    /// Waits for a notification of this kind and reason about the Job. [`Scenario::close`] allows no others.
    pub(crate) async fn notified(
        &mut self,
        job: &str,
        kind: OutcomeKind,
        reason: &str,
        within: Duration,
    ) -> anyhow::Result<Received> {
        let wanted = |event: &CloudEvent| event.data.kind == kind && event.data.reason == reason;
        let received = self.environment.receiver.wait_for(self.namespace(), job, within, wanted).await?;
        self.expected.push(received.clone());
        Ok(received)
    }

    /// Like [`Scenario::notified`], and checks that the notification arrives `within` this time after `since`.
    pub(crate) async fn notified_in_time(
        &mut self,
        job: &str,
        kind: OutcomeKind,
        reason: &str,
        (since, within): (Instant, Duration),
    ) -> anyhow::Result<Received> {
        let received = self.notified(job, kind, reason, within + SOON).await?;
        let took = received.at.saturating_duration_since(since);
        jobwarden_testbed::progress::note(format!("{kind} {reason} reported after {took:.1?} (limit {within:?})"));
        ensure!(took <= within, "reported after {took:?} (limit {within:?}): {:#?}", received.event.data);
        Ok(received)
    }

    /// Waits until the Job is complete and reported as succeeded.
    pub(crate) async fn succeeds(&mut self, job: &str, within: Duration) -> anyhow::Result<()> {
        wait::until_job(&self.environment.client, self.namespace(), job, "Complete", within).await?;
        let wanted = |event: &CloudEvent| event.data.kind == OutcomeKind::Succeeded;
        let received = self.environment.receiver.wait_for(self.namespace(), job, SOON, wanted).await?;
        self.expected.push(received);
        Ok(())
    }

    /// Waits for an Event with this reason on the Job, and returns its note.
    pub(crate) async fn event(&self, job: &str, reason: &str, within: Duration) -> anyhow::Result<String> {
        let events = Api::<Event>::namespaced(self.environment.client.clone(), self.namespace());
        let found = async {
            loop {
                let all = events.list(&ListParams::default()).await.context("reading Events")?;
                let found = all.into_iter().find(|event| {
                    let about = event.regarding.as_ref().and_then(|object| object.name.as_deref());
                    event.reason.as_deref() == Some(reason) && about == Some(job)
                });
                if let Some(event) = found {
                    return anyhow::Ok(event.note.unwrap_or_default());
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::time::timeout(within, found)
            .await
            .with_context(|| format!("no Event {reason} on Job {job} after {within:?}"))?
    }

    /// Waits until a repaired node is ready.
    pub(crate) async fn wait_until_ready(&self, node: &LeasedNode) -> anyhow::Result<()> {
        Ok(self.environment.cluster.wait_for_node(node.name(), true, RECOVERY).await?)
    }

    /// Checks that the bystander was left alone, and that there were only the expected notifications, each delivered once.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.verify(|_| false).await
    }

    /// Like [`Scenario::close`], but notices that are no outcome may come besides.
    pub(crate) async fn close_allowing_notices(self) -> anyhow::Result<()> {
        self.verify(|it| !it.event.data.kind.is_final()).await
    }

    async fn verify(self, may_come: impl Fn(&Received) -> bool) -> anyhow::Result<()> {
        let all = self.environment.receiver.received();
        let here: Vec<_> = all.iter().filter(|it| it.event.data.namespace == self.namespace()).collect();
        let is_expected = |it: &Received| self.expected.iter().any(|expected| expected.event.id == it.event.id);
        let unexpected: Vec<_> = here.iter().filter(|it| !is_expected(it) && !may_come(it)).collect();
        ensure!(unexpected.is_empty(), "unexpected notifications: {unexpected:#?}");
        let repeated: Vec<_> = here.iter().filter(|it| it.deliveries != 1).collect();
        ensure!(repeated.is_empty(), "delivered more than once: {repeated:#?}");
        ensure!(self.bystander.process.is_alive(), "the bystander's worker has ended");
        let job = Api::<Job>::namespaced(self.environment.client.clone(), self.namespace()).get(BYSTANDER).await?;
        let status = job.status.as_ref().context("the bystander has no status")?;
        ensure!(job.metadata.deletion_timestamp.is_none(), "the bystander is being deleted");
        ensure!(status.conditions.iter().flatten().count() == 0 && status.active == Some(1), "{status:#?}");
        let name = self.bystander.pod.name_any();
        let pod = Api::<Pod>::namespaced(self.environment.client.clone(), self.namespace()).get(&name).await?;
        ensure!(pod.uid() == self.bystander.pod.uid(), "the bystander has another pod");
        ensure!(pod.metadata.deletion_timestamp.is_none(), "the bystander's pod is being deleted");
        Ok(())
    }
}

async fn start(environment: &Environment, namespace: &TempNamespace, worker: &Worker) -> anyhow::Result<Running> {
    let job = environment.submit(namespace.name(), worker).await?;
    ensure!(job.finalizers().iter().any(|it| it == FINALIZER), "the Job was not enrolled");
    let pod = wait::until_running(&environment.client, namespace.name(), worker.name(), &[], SOON).await?;
    reaper_api::until_reported_alive(&environment.client, namespace.name(), worker.name(), SOON).await?;
    let process = environment.cluster.process_of(namespace.name(), &pod.name_any(), "worker").await?;
    Ok(Running { pod, process })
}

/// The Job controller's reason for a Job whose pods have failed too often.
pub(crate) const BACKOFF_LIMIT_EXCEEDED: &str = "BackoffLimitExceeded";

/// The kind and reason of the notification about a worker on an unreachable node.
pub(crate) const LOST: (OutcomeKind, &str) = (OutcomeKind::Lost, reason::NODE_UNREACHABLE);

/// The kind and reason of the notification about a worker that is alive after a notice.
pub(crate) const RECOVERED: (OutcomeKind, &str) = (OutcomeKind::Recovered, reason::HEARTBEAT_RESUMED);
