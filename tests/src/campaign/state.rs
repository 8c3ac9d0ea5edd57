//! What the parts of a campaign share: the cluster, and the history as it is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Write as _, stdout};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jobwarden_testbed::{Process, TempNamespace};

use super::clock::clock;
use super::history::{CampaignTime, Condition, Entry, History, JobHistory, Notification};
use crate::environment::Environment;
use crate::receiver::Received;

/// A running campaign.
pub(crate) struct Campaign {
    pub(crate) environment: Environment,
    pub(crate) lost_after: Duration,
    namespace: TempNamespace,
    start: Instant,
    history: Mutex<History>,
    /// The workers that run, by pod.
    workers: Mutex<BTreeMap<String, Worker>>,
}

/// A worker as a process of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) job: String,
    pub(crate) pod: String,
    pub(crate) address: Option<IpAddr>,
    pub(crate) process: Process,
}

impl Campaign {
    pub(crate) async fn start(environment: Environment, lost_after: Duration) -> anyhow::Result<Self> {
        let namespace = environment.enrolled_namespace("campaign").await?;
        let mut history = History::default();
        for node in environment.cluster.node_names() {
            history.node(&node);
        }
        let (history, workers) = (Mutex::new(history), Mutex::default());
        Ok(Self { environment, lost_after, namespace, start: Instant::now(), history, workers })
    }

    pub(crate) fn namespace(&self) -> &str {
        self.namespace.name()
    }

    pub(crate) fn now(&self) -> CampaignTime {
        self.start.elapsed()
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn workers(&self) -> MutexGuard<'_, BTreeMap<String, Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of workers that run on a node.
    pub(crate) fn workers_on(&self, node: &str) -> usize {
        let history = self.history();
        let on_node = |worker: &&Worker| history.jobs.iter().any(|job| job.name == worker.job && job.node == node);
        self.workers().values().filter(on_node).count()
    }

    /// Prints a line, and keeps it as evidence for findings about the Jobs on this node, or on all.
    pub(crate) fn announce(&self, node: Option<&str>, what: impl Into<String>) {
        let (at, what) = (self.now(), what.into());
        self.print(&what);
        self.history().log.push(Entry { at, node: node.map(str::to_owned), what });
    }

    /// Prints a line with the campaign's time.
    pub(crate) fn print(&self, line: impl AsRef<str>) {
        // A closed stdout does not matter: the exit status still has the result.
        let _ = writeln!(stdout().lock(), "{}  {}", clock(self.now()), line.as_ref());
    }

    /// Adds a line to a Job's log, and changes its history.
    pub(crate) fn record(&self, job: &str, what: &str, change: impl FnOnce(&mut JobHistory, CampaignTime)) {
        let now = self.now();
        if let Some(job) = self.history().job(job) {
            job.log.push(format!("{} {what}", clock(now)));
            change(job, now);
        }
    }

    /// Records the condition of a node from now on.
    pub(crate) fn set_condition(&self, node: &str, condition: Condition) {
        let now = self.now();
        self.history().node(node).set_condition(now, condition);
    }

    /// All notifications received so far.
    pub(crate) fn notifications(&self) -> Vec<Notification> {
        let ours = |it: &Received| it.event.data.namespace == self.namespace();
        self.environment.receiver.picked(|it| ours(it).then(|| self.as_notification(it)))
    }

    /// The names of the Jobs whose final outcome was received.
    pub(crate) fn reported(&self) -> BTreeSet<String> {
        let ours = |it: &Received| it.event.data.namespace == self.namespace() && it.event.data.kind.is_final();
        self.environment.receiver.picked(|it| ours(it).then(|| it.event.data.job_name.clone())).into_iter().collect()
    }

    fn as_notification(&self, received: &Received) -> Notification {
        let data = &received.event.data;
        let evidence: Vec<_> = data.evidence.iter().map(|fact| format!("{}: {}", fact.of, fact.is)).collect();
        Notification {
            job: data.job_name.clone(),
            at: received.at.saturating_duration_since(self.start),
            kind: data.kind,
            reason: data.reason.clone(),
            deliveries: received.deliveries,
            explanation: format!("{} ({}); {}", data.decided_by.row, data.message, evidence.join("; ")),
        }
    }

    /// Ends the campaign, and removes its namespace and its cluster.
    pub(crate) async fn tear_down(self: Arc<Self>) -> anyhow::Result<()> {
        let campaign = Arc::into_inner(self).context("another task still uses the campaign")?;
        campaign.namespace.delete().await?;
        Ok(campaign.environment.cluster.down().await?)
    }
}
