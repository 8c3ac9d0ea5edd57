//! Scenarios from received signals to written objects, with an API server in memory and a paused clock.

use jobwarden_common::{beat::Phase, identity::JobUid};
use jobwarden_core::{
    builders::facts::{mk_job, mk_lease, mk_node, mk_pod},
    evidence::Retries,
    facts::{
        job::JobFacts,
        node::{Health, NodeFacts},
        pod::PodFacts,
    },
    guard::{Counted, HOLD_FOR, Hold, Scope},
    policy::{Policy, PolicyLimits},
    reconcile::Mode,
};
use serde_json::json;

use super::*;
use crate::{
    deliver::{Config, Routes},
    execute::{Executor, FailWith},
    fake_api::FakeApi,
};

mod crashes;

/// The second after which the warm-up has ended under the default policy.
const WARM: u64 = 130;

/// Jobs with one pod each, spread over nodes, and a reaper that has been the leader since second 0.
struct Scenario {
    controller: Arc<Controller>,
    api: FakeApi,
    nodes: usize,
    /// Per Job whether its sidecar and node are silent.
    silent: Vec<bool>,
    second: u64,
}

fn name(job: usize) -> String {
    format!("job-{job}")
}

fn path(job: usize) -> String {
    format!("/apis/batch/v1/namespaces/ort/jobs/{}-name", name(job))
}

impl Scenario {
    /// The Jobs have no retries left.
    fn new(jobs: usize, nodes: usize, mode: Mode) -> Self {
        let (api, observer, outbox, metrics) =
            (FakeApi::default(), Observer::of_one_job(), Outbox::new(), Metrics::default());
        // Remove the Job of the fixture.
        observer.with(|index, now| {
            index.delete_pod(&"pod".into(), now);
            index.delete_job(&"job".into(), now);
            index.forget_job(&"job".into());
        });
        let client = api.client();
        let executor = Executor::new(
            client.clone(),
            "jobwarden",
            "reaper-0".to_owned(),
            outbox.clone(),
            Routes::default(),
            FailWith::FailureTarget,
            metrics.clone(),
        );
        let unfollowed = Unfollowed::new(client.clone(), observer.clone(), executor.clone(), mode, metrics.clone());
        let controller = Arc::new(Controller {
            deliverer: Deliverer::new(
                &Config::default(),
                Routes::default(),
                client.clone(),
                "jobwarden",
                executor.events().clone(),
                outbox.clone(),
                metrics.clone(),
            )
            .expect("no sinks"),
            enforcer: Arc::new(Enforcer::new(observer.clone(), outbox.clone(), executor, mode)),
            backfill: None,
            orphans: Orphans::new(client.clone(), observer.clone(), outbox.clone(), mode, metrics.clone()),
            unfollowed,
            role: Role::new(client.clone(), "jobwarden", "reaper-0"),
            outcomes: Api::namespaced(client, "jobwarden"),
            observer,
            outbox,
            retention: Retention { age: Duration::from_hours(1), count: 100, bytes: 1 << 20 },
            metrics,
        });
        let mut scenario = Self { controller, api, nodes, silent: vec![false; jobs], second: 0 };
        scenario.create();
        let enforcing = Arc::clone(&scenario.controller);
        tokio::spawn(async move { enforcing.enforce().await });
        scenario
    }

    fn create(&mut self) {
        for job in 0..self.silent.len() {
            let (uid, node) = (name(job), format!("n{}", job % self.nodes));
            let status = json!({ "startTime": jiff::Timestamp::UNIX_EPOCH.to_string() });
            let spec = json!({ "template": { "spec": { "containers": [] } } });
            self.api.put(
                &path(job),
                json!({ "metadata": { "namespace": "ort", "uid": uid }, "spec": spec, "status": status }),
            );
            let owner =
                json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": uid, "controller": true }]);
            let (pod, status) = (format!("/api/v1/namespaces/ort/pods/pod-{job}-name"), json!({ "phase": "Running" }));
            self.api.put(
                &pod,
                json!({ "metadata": { "namespace": "ort", "uid": format!("pod-{job}"), "ownerReferences": owner },
                        "spec": { "containers": [] }, "status": status }),
            );
            self.controller.observer.with(|index, now| {
                index.apply_node(&NodeFacts { zone: Some("a".into()), ..mk_node(&node, Health::Ready) }, now);
                index.apply_job(JobFacts { retries: Retries::Exhausted, ..mk_job(&uid) }, now);
                index.apply_pod(
                    PodFacts { node: Some(node.as_str().into()), ..mk_pod(&format!("pod-{job}"), &uid) },
                    now,
                );
            });
        }
    }

    /// Runs until this second. Each sidecar beats and each kubelet renews its Lease every ten seconds, at different offsets.
    async fn until(&mut self, second: u64) {
        while self.second < second {
            self.second += 1;
            self.controller.observer.silence(1).await;
            for job in (0..self.silent.len()).filter(|&job| !self.silent[job]) {
                self.controller.observer.with(|index, now| {
                    if (self.second + job as u64 * 7).is_multiple_of(10) {
                        let _ = index.beat(&format!("pod-{job}").into(), None, Phase::Running, now);
                    }
                    let node = job % self.nodes;
                    if (self.second + node as u64 * 3).is_multiple_of(10) {
                        let renewed = i64::try_from(self.second).expect("small");
                        index.apply_lease(&mk_lease(&format!("n{node}"), renewed), now);
                    }
                });
            }
            self.settle().await;
        }
    }

    /// Runs all tasks that can run at this time.
    async fn settle(&self) {
        for _ in 0..200 {
            yield_now().await;
        }
    }

    /// The failed Jobs with their reasons.
    fn failed(&self) -> Vec<(usize, String)> {
        let reason = |job: &usize| {
            let object = self.api.get(&path(*job))?;
            let conditions = object["status"]["conditions"].as_array()?;
            let failing = conditions.iter().find(|condition| condition["type"] == "FailureTarget")?;
            Some((*job, failing["reason"].as_str()?.to_owned()))
        };
        (0..self.silent.len()).filter_map(|job| reason(&job)).collect()
    }

    fn events(&self, reason: &str) -> usize {
        let of_reason = |path: &String| self.api.get(path).is_some_and(|event| event["reason"] == reason);
        self.api.paths("/events/").iter().filter(|path| of_reason(path)).count()
    }

    fn held(&self, guard: &'static str) -> usize {
        self.controller.enforcer.reconciler().held_by_guard().get(guard).copied().unwrap_or_default()
    }

    /// How many nodes that carry workers are silent, and how many carry workers.
    fn silent_nodes(&self) -> (usize, usize) {
        let report = self.controller.enforcer.reconciler().breaker();
        (report.silent, report.nodes)
    }

    fn inspect(&self, job: usize) -> Inspected {
        self.controller.enforcer.inspect(&JobUid::from(name(job))).expect("the Job is indexed")
    }
}

#[tokio::test(start_paused = true)]
async fn the_breaker_holds_jobs_of_thirty_of_forty_silent_nodes_until_most_are_back() {
    let mut scenario = Scenario::new(40, 40, Mode::Enforce);
    scenario.until(WARM + 10).await;
    assert_eq!(scenario.silent_nodes(), (0, 40));
    // The nodes, sidecars and agents of 30 Jobs fall silent at once.
    scenario.silent = (0..40).map(|job| job % 4 != 0).collect();
    let silent = 30;
    scenario.until(WARM + 10 + 23).await;
    assert_eq!(scenario.silent_nodes(), (silent, 40), "the breaker counts silent nodes before their Jobs are lost");
    scenario.until(WARM + 10 + 120 + 60).await;
    assert_eq!(scenario.failed(), [], "no Job is failed");
    assert_eq!(scenario.held("breaker"), silent);
    assert_eq!(scenario.events("Held"), 30);
    assert_eq!(
        scenario.inspect(1).inspection.held,
        Some(Hold::Breaker { counted: Counted::SilentNodes, scope: Scope::Cluster, affected: 30, of: 40 })
    );
    assert!(scenario.api.paths("joboutcomes/pod-1.suspect").len() == 1, "the notice is recorded");
    assert!(scenario.api.writes().iter().all(|write| write.starts_with("POST") || write.contains("joboutcomes")));

    scenario.silent = (0..40).map(|job| job == 1).collect();
    // Every sidecar has beaten again after ten seconds. The breaker releases 30 s later.
    scenario.until(scenario.second + 30).await;
    assert_eq!(scenario.failed(), []);
    scenario.until(scenario.second + 15).await;
    assert_eq!(scenario.failed(), [(1, "NodeUnreachable".to_owned())]);
    assert_eq!(scenario.held("breaker"), 0);
    scenario.until(scenario.second + 300).await;
    assert_eq!(scenario.failed().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_single_dead_node_is_failed_without_delay_however_many_jobs_it_carries() {
    let mut scenario = Scenario::new(100, 3, Mode::Enforce);
    scenario.until(WARM + 10).await;
    scenario.silent = (0..100).map(|job| job % 3 == 1).collect();
    let dead: Vec<_> = (0..100).filter(|&job| scenario.silent[job]).collect();
    scenario.until(WARM + 10 + 120 + 1).await;
    assert_eq!(scenario.failed().into_iter().map(|(job, _)| job).collect::<Vec<_>>(), dead);
    assert_eq!(scenario.events("Held"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_breaker_does_not_hold_jobs_of_a_deleted_node() {
    let mut scenario = Scenario::new(40, 1, Mode::Enforce);
    scenario.until(WARM + 10).await;
    scenario.silent = vec![true; 40];
    scenario.controller.observer.with(|index, now| index.delete_node(&"n0".into(), now));
    scenario.until(WARM + 10 + 31).await;
    let failed = scenario.failed();
    assert_eq!(failed.len(), 40);
    assert!(failed.iter().all(|(_, reason)| reason == "NodeGone"), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn observe_only_writes_to_no_job() {
    let mut scenario = Scenario::new(3, 3, Mode::ObserveOnly);
    scenario.controller.observer.set_policy(
        serde_saphyr::from_str("set: {onLost: fail, activeTimeout: 60s, notStarting: fail}").expect("valid"),
        PolicyLimits::default(),
    );
    scenario.until(WARM).await;
    scenario.silent = vec![true; 3];
    scenario.until(WARM + 200).await;
    assert_eq!(scenario.failed(), []);
    assert_eq!(scenario.events("DeadlineExceeded"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_failed_after_its_active_timeout_or_start_timeout() {
    let mut scenario = Scenario::new(2, 2, Mode::Enforce);
    let set = "set: {activeTimeout: never, startTimeout: 60s, notStarting: fail}\n\
               rules: [{match: {size: small}, set: {activeTimeout: 300s}}]";
    scenario.controller.observer.with(|index, now| {
        let labels = jobwarden_core::policy::Labels::keep([(&"size".to_owned(), &"small".to_owned())]);
        index.apply_job(JobFacts { labels, ..mk_job("job-0") }, now);
        index.delete_pod(&"pod-1".into(), now);
    });
    scenario.controller.observer.set_policy(serde_saphyr::from_str(set).expect("valid"), PolicyLimits::default());
    scenario.until(WARM + 10).await;
    assert_eq!(scenario.failed(), [(1, "NotStarting".to_owned())]);
    scenario.until(299).await;
    assert_eq!(scenario.failed().len(), 1);
    scenario.until(301).await;
    assert_eq!(scenario.failed()[0], (0, "DeadlineExceeded".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn two_of_three_nodes_of_a_zone_are_held_for_a_quarter_of_an_hour_and_released_one_a_minute() {
    let mut scenario = Scenario::new(6, 3, Mode::Enforce);
    scenario.until(WARM + 10).await;
    scenario.silent = (0..6).map(|job| job % 3 != 0).collect();
    scenario.until(WARM + 300).await;
    assert_eq!((scenario.held("breaker"), scenario.failed()), (4, vec![]));
    // Both were last heard of within ten seconds before, and count 12 s later.
    let earliest = WARM + 10 + 12 - 10 + HOLD_FOR.as_secs();
    scenario.until(earliest).await;
    assert_eq!(scenario.failed(), []);
    while scenario.failed().is_empty() && scenario.second < earliest + 15 {
        scenario.until(scenario.second + 1).await;
    }
    assert_eq!(
        (scenario.held("breaker"), scenario.failed().len()),
        (2, 2),
        "of the node that has been held for longest"
    );
    let first = scenario.second;
    scenario.until(first + 58).await;
    assert_eq!(scenario.failed().len(), 2);
    scenario.until(first + 62).await;
    assert_eq!((scenario.held("breaker"), scenario.failed().len()), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn an_operator_releases_what_is_held_at_once() {
    let mut scenario = Scenario::new(6, 3, Mode::Enforce);
    scenario.until(WARM + 10).await;
    scenario.silent = (0..6).map(|job| job % 3 != 0).collect();
    scenario.until(WARM + 300).await;
    assert_eq!(scenario.controller.enforcer.release_breaker(), 2);
    scenario.settle().await;
    assert_eq!((scenario.held("breaker"), scenario.failed().len()), (0, 4));
}

#[test]
fn the_scenarios_match_the_default_policy() {
    assert_eq!(Policy::default().lost_after, Duration::from_secs(WARM - 10));
}
