//! What the parts of a campaign share: the cluster, and the history as it is made.

use std::collections::BTreeMap;
use std::io::{Write as _, stdout};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jobwarden_tests::cluster::{Process, TempNamespace};
use jobwarden_tests::ground::Ground;
use jobwarden_tests::receiver::Received;
use tokio::task::JoinSet;

use super::account::clock;
use super::history::{At, Condition, History, JobHistory, Told};

/// A campaign under way.
pub(super) struct Campaign {
    pub(super) ground: Ground,
    pub(super) lost_after: Duration,
    namespace: TempNamespace,
    began: Instant,
    history: Mutex<History>,
    workers: Mutex<BTreeMap<String, Worker>>,
    /// What goes on beside the campaign, and ends with it.
    searches: Mutex<JoinSet<()>>,
}

/// A worker as it runs on this machine.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) pod: String,
    pub(super) address: Option<IpAddr>,
    pub(super) process: Process,
}

impl Campaign {
    pub(super) async fn begin(ground: Ground, lost_after: Duration) -> anyhow::Result<Self> {
        let namespace = ground.enrolled_namespace("campaign").await?;
        let mut history = History::default();
        for node in ground.cluster.node_names() {
            history.node(&node);
        }
        let (history, workers, searches) = (Mutex::new(history), Mutex::default(), Mutex::default());
        Ok(Self { ground, lost_after, namespace, began: Instant::now(), history, workers, searches })
    }

    pub(super) fn namespace(&self) -> &str {
        self.namespace.name()
    }

    pub(super) fn now(&self) -> At {
        self.began.elapsed()
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn workers(&self) -> MutexGuard<'_, BTreeMap<String, Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what happens.
    pub(super) fn say(&self, what: impl AsRef<str>) {
        // Whoever closed stdout does not want the story; the exit status still tells.
        let _ = writeln!(stdout().lock(), "{}  {}", clock(self.now()), what.as_ref());
    }

    /// Writes into a Job's story, and changes what is known of it.
    pub(super) fn note(&self, job: &str, what: &str, change: impl FnOnce(&mut JobHistory, At)) {
        let now = self.now();
        if let Some(job) = self.history().job(job) {
            job.story.push(format!("{} {what}", clock(now)));
            change(job, now);
        }
    }

    /// A node is in another condition from now on.
    pub(super) fn becomes(&self, node: &str, condition: Condition) {
        let now = self.now();
        self.history().node(node).becomes(now, condition);
    }

    /// Everything that was told so far.
    pub(super) fn told(&self) -> Vec<Told> {
        let received = self.ground.receiver.received();
        received.iter().filter(|it| it.event.data.namespace == self.namespace()).map(|it| self.as_told(it)).collect()
    }

    fn as_told(&self, received: &Received) -> Told {
        let data = &received.event.data;
        let evidence: Vec<_> = data.evidence.iter().map(|fact| format!("{}: {}", fact.of, fact.is)).collect();
        Told {
            job: data.job_name.clone(),
            at: received.at.saturating_duration_since(self.began),
            kind: data.kind,
            reason: data.reason.clone(),
            deliveries: received.deliveries,
            because: format!("{} ({}); {}", data.decided_by.row, data.message, evidence.join("; ")),
        }
    }

    /// How many Jobs nobody can hear now: those on nodes that are cut off or walled off, and those whose workers have ended.
    pub(super) fn silent(&self) -> usize {
        let now = self.now();
        let over: BTreeMap<_, _> =
            self.told().into_iter().filter(|told| told.kind.is_final()).map(|told| (told.job, told.at)).collect();
        let mut history = self.history();
        let jobs = history.jobs.clone();
        jobs.iter()
            .filter(|job| match over.get(&job.name) {
                Some(at) => now.saturating_sub(*at) < self.lost_after,
                None => job.ended.is_some() || history.node(&job.node).is_silent(now),
            })
            .count()
    }

    /// Looks for a worker until it is found, or the campaign ends.
    pub(super) fn search(&self, search: impl Future<Output = ()> + Send + 'static) {
        let mut searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        while searches.try_join_next().is_some() {}
        searches.spawn(search);
    }

    /// Ends the campaign, whose namespace and cluster are not needed any more.
    pub(super) async fn end(self: Arc<Self>) -> anyhow::Result<()> {
        let mut searches = std::mem::take(&mut *self.searches.lock().unwrap_or_else(PoisonError::into_inner));
        searches.shutdown().await;
        let campaign = Arc::into_inner(self).context("nobody else uses the campaign")?;
        campaign.tear_down().await
    }

    async fn tear_down(self) -> anyhow::Result<()> {
        self.namespace.delete().await?;
        Ok(self.ground.cluster.down().await?)
    }
}
