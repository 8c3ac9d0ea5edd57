//! Records outcomes, as many as are wanted at the pace that is wanted.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use jobwarden_common::notification::{
    Attempt, Cause, CauseKind, DecidedBy, Fact, OutcomeData, OutcomeKind, TimelineEntry,
};
use jobwarden_core::outcome::OutcomeName;
use jobwarden_reaper::{
    deliver::queue::CONCURRENCY,
    outbox::{JobOutcome, JobOutcomeStatus, Recipients, SinkState, SinkStatus},
};
use jobwarden_serve::field_manager::{patch_params, post_params};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch},
};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{latencies, receiver::Receiver};

/// The number of concurrent requests to the API server, where nothing else is said.
const AT_ONCE: usize = 24;
/// The most outcomes that are recorded and not received, while outcomes flow.
const NOT_RECEIVED: usize = 500;
/// How many namespaces the Jobs are in.
const NAMESPACES: usize = 10;
/// The size of a page of a list.
const PAGE: u32 = 500;

/// Records outcomes of Jobs that do not exist, each of another Job.
pub(crate) struct Recorder {
    outcomes: Api<JobOutcome>,
    receiver: Receiver,
    /// How many it has recorded so far.
    recorded: usize,
    /// Sets the Jobs apart from those of another process.
    run: u32,
}

impl Recorder {
    pub(crate) fn new(outcomes: Api<JobOutcome>, receiver: Receiver) -> Self {
        Self { outcomes, receiver, recorded: 0, run: fastrand::u32(..) }
    }

    pub(crate) async fn record(&mut self, count: usize, sinks: &[String]) -> anyhow::Result<Value> {
        let begin = Instant::now();
        let _recorded: Vec<JobOutcome> = self.record_at_once(count, sinks).await?;
        Ok(json!({ "seconds": begin.elapsed().as_secs_f64() }))
    }

    pub(crate) async fn flow(&mut self, count: usize, sinks: &[String]) -> anyhow::Result<Value> {
        self.receiver.forget();
        let begin = Instant::now();
        let receiver = self.receiver.clone();
        let (outcomes, drafts) = (self.outcomes.clone(), self.drafts(count, sinks));
        let recording = drafts.enumerate().map(|(number, draft)| {
            let (outcomes, receiver) = (&outcomes, &receiver);
            async move {
                receiver.wait_for(number.saturating_sub(NOT_RECEIVED)).await?;
                create(outcomes, draft).await
            }
        });
        stream::iter(recording).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
        receiver.wait_for(count).await?;
        Ok(json!({ "seconds": begin.elapsed().as_secs_f64() }))
    }

    pub(crate) async fn pace(&mut self, count: usize, rate: u32, sinks: &[String]) -> anyhow::Result<Value> {
        ensure!(rate > 0, "a rate of zero");
        self.receiver.forget();
        let mut ticks = interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let outcomes = self.outcomes.clone();
        let mut recording = JoinSet::new();
        for mut draft in self.drafts(count, sinks) {
            let due = ticks.tick().await;
            let outcomes = outcomes.clone();
            recording.spawn(async move {
                draft.spec.created_at = Timestamp::now();
                let name = draft.name_any();
                create(&outcomes, draft).await?;
                // What starts too late has waited as well.
                anyhow::Ok((name, due.into_std()))
            });
        }
        let mut starts = Vec::with_capacity(count);
        while let Some(recorded) = recording.join_next().await {
            starts.push(recorded??);
        }
        self.receiver.wait_for(count).await?;
        let latency = |(name, start): (String, Instant)| {
            let at = self.receiver.received_at(&name).with_context(|| format!("{name} was not received"))?;
            anyhow::Ok(at.saturating_duration_since(start))
        };
        latencies::summary(starts.into_iter().map(latency).collect::<anyhow::Result<_>>()?)
    }

    /// Writes statuses as the reaper does, with its concurrency, but without any delivery.
    pub(crate) async fn write(&mut self, count: usize) -> anyhow::Result<Value> {
        let recorded = self.record_at_once(count, &[]).await?;
        let begin = Instant::now();
        let writing = recorded.iter().map(|outcome| write_status(&self.outcomes, outcome));
        stream::iter(writing).buffer_unordered(CONCURRENCY).try_for_each(|()| async { Ok(()) }).await?;
        Ok(json!({ "per_s": count as f64 / begin.elapsed().as_secs_f64() }))
    }

    pub(crate) async fn count(&self) -> anyhow::Result<Value> {
        let listed = self.outcomes.list_metadata(&ListParams::default().limit(1)).await.context("counting")?;
        let more = match listed.metadata.continue_.as_deref() {
            None | Some("") => 0,
            Some(_) => {
                listed.metadata.remaining_item_count.context("the API server does not say how many there are")?
            }
        };
        Ok(json!({ "outcomes": i64::try_from(listed.items.len())? + more }))
    }

    pub(crate) async fn acknowledged(&self, sink: &str) -> anyhow::Result<Value> {
        let mut acknowledged = 0;
        let is_acknowledged = |status: &SinkStatus| status.name == sink && status.state == SinkState::Acknowledged;
        let mut next = ListParams::default().limit(PAGE);
        loop {
            let page = self.outcomes.list(&next).await.context("listing outcomes")?;
            acknowledged += page.items.iter().filter(|outcome| outcome.sinks().iter().any(is_acknowledged)).count();
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => next = ListParams::default().limit(PAGE).continue_token(&token),
                None => return Ok(json!({ "acknowledged": acknowledged })),
            }
        }
    }

    pub(crate) async fn clear(&self) -> anyhow::Result<Value> {
        let mut deleted = 0;
        loop {
            let page = self.outcomes.list_metadata(&ListParams::default().limit(PAGE)).await.context("listing")?;
            if page.items.is_empty() {
                return Ok(json!({ "deleted": deleted }));
            }
            deleted += page.items.len();
            let deleting = page.items.iter().map(|outcome| delete(&self.outcomes, outcome.name_any()));
            stream::iter(deleting).buffer_unordered(AT_ONCE).try_for_each(|()| async { Ok(()) }).await?;
        }
    }

    async fn record_at_once(&mut self, count: usize, sinks: &[String]) -> anyhow::Result<Vec<JobOutcome>> {
        let outcomes = self.outcomes.clone();
        let recording = self.drafts(count, sinks).map(|draft| create(&outcomes, draft));
        stream::iter(recording).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// The next outcomes, each made when it is taken.
    fn drafts(&mut self, count: usize, sinks: &[String]) -> impl Iterator<Item = JobOutcome> + use<> {
        let from = self.recorded;
        self.recorded += count;
        let (run, sinks) = (self.run, sinks.to_vec());
        (from..from + count).map(move |number| outcome(run, number, &sinks))
    }
}

async fn create(outcomes: &Api<JobOutcome>, draft: JobOutcome) -> anyhow::Result<JobOutcome> {
    let created = outcomes.create(&post_params(), &draft).await;
    created.with_context(|| format!("recording {}", draft.name_any()))
}

async fn write_status(outcomes: &Api<JobOutcome>, outcome: &JobOutcome) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let acknowledged = SinkStatus {
        state: SinkState::Acknowledged,
        attempts: 1,
        last_attempt_at: Some(now),
        acknowledged_at: Some(now),
        ..SinkStatus::untried("orchestrator")
    };
    let status = JobOutcomeStatus::of(vec![acknowledged]);
    let patch = json!({ "metadata": { "resourceVersion": outcome.metadata.resource_version }, "status": status });
    let patched = outcomes.patch_status(&outcome.name_any(), &patch_params(), &Patch::Merge(patch)).await;
    patched.map(drop).with_context(|| format!("writing the status of {}", outcome.name_any()))
}

async fn delete(outcomes: &Api<JobOutcome>, name: String) -> anyhow::Result<()> {
    match outcomes.delete(&name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        // The reaper may have deleted it.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error).with_context(|| format!("deleting {name}")),
    }
}

/// An outcome of about 2 KiB, as of a Job with one pod that was killed.
fn outcome(run: u32, number: usize, sinks: &[String]) -> JobOutcome {
    let job = format!("{run:08x}-0000-4000-8000-{number:012x}");
    let at = Timestamp::now();
    let fact = |of: &str, is: &str| Fact { of: of.to_owned(), is: is.to_owned() };
    let entry = |event: &str| TimelineEntry { at: at.to_string(), event: event.to_owned() };
    let data = OutcomeData {
        kind: OutcomeKind::Failed,
        namespace: format!("team-{}", number % NAMESPACES),
        job_name: format!("ort-analyzer-{number}"),
        job_uid: job.as_str().into(),
        run_id: Some(number.to_string().as_str().into()),
        job_id: Some(number.to_string().as_str().into()),
        trace_id: Some(format!("{number:032x}")),
        attempt: Some(Attempt {
            pod_uid: format!("{run:08x}-0000-4000-9000-{number:012x}").as_str().into(),
            pod_name: format!("ort-analyzer-{number}-x7k2p"),
            node: Some("node-1".into()),
        }),
        reason: "BackoffLimitExceeded".to_owned(),
        message: "Container worker of pod ort-analyzer was killed: it used more memory than its limit of 4Gi."
            .to_owned(),
        work_may_be_done: false,
        cause: Cause {
            kind: Some(CauseKind::OomKilled),
            container: Some("worker".to_owned()),
            exit_code: Some(137),
            signal: Some("SIGKILL".to_owned()),
            ..Cause::default()
        },
        decided_by: DecidedBy { row: "J2".to_owned(), rule: "the Job has failed".to_owned() },
        evidence: vec![
            fact("job", "failed with reason BackoffLimitExceeded"),
            fact("pod", "phase Failed, container worker exited with 137, OOMKilled"),
            fact("beat", "the last one 3 s before the end of the container, phase running"),
            fact("agent", "the cgroup of the container counted one OOM kill"),
            fact("node", "ready, its Lease renewed 4 s ago"),
        ],
        timeline: [
            "Job created",
            "pod ort-analyzer-x7k2p created",
            "pod scheduled to node-1",
            "container worker started",
            "first heartbeat received",
            "container worker killed: out of memory",
            "Job failed: BackoffLimitExceeded",
        ]
        .map(entry)
        .to_vec(),
        usage: None,
        logs: None,
        coalesced: None,
    };
    let recipients = Recipients { sinks: sinks.to_vec(), ..Recipients::default() };
    JobOutcome::record(&OutcomeName::job_final(&job.as_str().into()), data, recipients, at)
}
