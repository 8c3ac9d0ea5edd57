//! Drills: the whole way from what is heard to what is written, with an API server in memory and a clock that is paused.

use jobwarden_common::{beat::Phase, identity::JobUid};
use jobwarden_core::{
    builders::facts::{mk_job, mk_lease, mk_node, mk_pod},
    evidence::Retries,
    facts::{
        job::JobFacts,
        node::{Health, NodeFacts},
        pod::PodFacts,
    },
    guard::{Hold, Scope},
    policy::Policy,
    reconcile::Mode,
};
use serde_json::json;

use super::*;
use crate::{
    deliver::Config,
    execute::{Executor, FailWith},
    fake_api::FakeApi,
};

/// Warm by then, with the default policy.
const WARM: u64 = 130;

/// Jobs of one pod each, spread over nodes, and a reaper that leads since second 0.
struct Drill {
    controller: Arc<Controller>,
    api: FakeApi,
    nodes: usize,
    /// Those that nobody hears.
    silent: Vec<bool>,
    second: u64,
}

fn name(job: usize) -> String {
    format!("job-{job}")
}

fn path(job: usize) -> String {
    format!("/apis/batch/v1/namespaces/ort/jobs/{}-name", name(job))
}

impl Drill {
    /// No Job may be tried again.
    fn new(jobs: usize, nodes: usize, mode: Mode) -> Self {
        let (api, observer, outbox, metrics) =
            (FakeApi::default(), Observer::of_one_job(), Outbox::new(), Metrics::default());
        // Its one Job is no part of the drill.
        observer.tell(|state, now| {
            state.delete_pod(&"pod".into(), now);
            state.delete_job(&"job".into(), now);
            state.forget_job(&"job".into());
        });
        let client = api.client();
        let executor = Executor::new(
            client.clone(),
            "jobwarden",
            "reaper-0".to_owned(),
            outbox.clone(),
            vec![],
            FailWith::FailureTarget,
            metrics.clone(),
        );
        let controller = Arc::new(Controller {
            enforcer: Arc::new(Enforcer::new(observer.clone(), outbox.clone(), executor, mode)),
            deliverer: Deliverer::new(&Config::default(), client.clone(), "jobwarden", outbox.clone(), metrics.clone())
                .expect("no sinks"),
            backfill: None,
            role: Role::new(client.clone(), "jobwarden", "reaper-0"),
            outcomes: Api::namespaced(client, "jobwarden"),
            observer,
            outbox,
            outcome_retention: Duration::from_hours(1),
            metrics,
        });
        let mut drill = Self { controller, api, nodes, silent: vec![false; jobs], second: 0 };
        drill.create();
        let enforcing = Arc::clone(&drill.controller);
        tokio::spawn(async move { enforcing.enforce().await });
        drill
    }

    fn create(&mut self) {
        for job in 0..self.silent.len() {
            let (uid, node) = (name(job), format!("n{}", job % self.nodes));
            let status = json!({ "startTime": "2026-01-02T03:04:05Z" });
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
            self.controller.observer.tell(|state, now| {
                state.apply_node(&NodeFacts { zone: Some("a".into()), ..mk_node(&node, Health::Ready) }, now);
                state.apply_job(JobFacts { retries: Retries::Exhausted, ..mk_job(&uid) }, now);
                state.apply_pod(
                    PodFacts { node: Some(node.as_str().into()), ..mk_pod(&format!("pod-{job}"), &uid) },
                    now,
                );
            });
        }
    }

    /// Until this second: each sidecar beats and each kubelet renews every ten seconds, in a rhythm of its own.
    async fn until(&mut self, second: u64) {
        while self.second < second {
            self.second += 1;
            self.controller.observer.silence(1).await;
            for job in (0..self.silent.len()).filter(|&job| !self.silent[job]) {
                self.controller.observer.tell(|state, now| {
                    if (self.second + job as u64 * 7).is_multiple_of(10) {
                        let _ = state.beat(&format!("pod-{job}").into(), None, Phase::Running, now);
                    }
                    let node = job % self.nodes;
                    if (self.second + node as u64 * 3).is_multiple_of(10) {
                        let renewed = i64::try_from(self.second).expect("small");
                        state.apply_lease(&mk_lease(&format!("n{node}"), renewed), now);
                    }
                });
            }
            self.settle().await;
        }
    }

    /// Lets everybody do what there is to do at this time.
    async fn settle(&self) {
        for _ in 0..200 {
            yield_now().await;
        }
    }

    /// The Jobs that were failed, with their reasons.
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

    fn inspect(&self, job: usize) -> Inspected {
        self.controller.enforcer.inspect(&JobUid::from(name(job))).expect("it is known")
    }
}

/// The drill of the breaker.
#[tokio::test(start_paused = true)]
async fn thirty_of_forty_jobs_fall_silent_and_when_they_are_back_the_dead_one_is_failed() {
    let mut drill = Drill::new(40, 40, Mode::Enforce);
    drill.until(WARM + 10).await;
    assert_eq!(drill.controller.enforcer.reconciler().breaker_counts().0, 0);
    // Their nodes, sidecars and agents fall silent in one instant.
    drill.silent = (0..40).map(|job| job % 4 != 0).collect();
    let silent = 30;
    drill.until(WARM + 10 + 45).await;
    assert_eq!(
        drill.controller.enforcer.reconciler().breaker_counts().0,
        silent,
        "they are in sight long before they are lost"
    );
    drill.until(WARM + 10 + 120 + 60).await;
    assert_eq!(drill.failed(), [], "nothing is failed");
    assert_eq!(drill.held("breaker"), silent);
    assert_eq!(drill.events("Held"), 30);
    assert_eq!(drill.inspect(1).inspection.held, Some(Hold::Breaker { scope: Scope::Cluster, lost: 30, of: 40 }));
    assert!(drill.api.paths("joboutcomes/pod-1.suspect").len() == 1, "the notice goes out");
    assert!(drill.api.writes().iter().all(|write| write.starts_with("POST") || write.contains("joboutcomes")));

    drill.silent = (0..40).map(|job| job == 1).collect();
    // Every sidecar has beaten again after ten seconds; thirty later things have settled.
    drill.until(drill.second + 30).await;
    assert_eq!(drill.failed(), []);
    drill.until(drill.second + 15).await;
    assert_eq!(drill.failed(), [(1, "NodeUnreachable".to_owned())]);
    assert_eq!(drill.held("breaker"), 0);
    drill.until(drill.second + 300).await;
    assert_eq!(drill.failed().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_single_dead_node_is_failed_without_delay() {
    let mut drill = Drill::new(100, 7, Mode::Enforce);
    drill.until(WARM + 10).await;
    drill.silent = (0..100).map(|job| job % 7 == 1).collect();
    let dead: Vec<_> = (0..100).filter(|&job| drill.silent[job]).collect();
    drill.until(WARM + 10 + 120 + 1).await;
    assert_eq!(drill.failed().into_iter().map(|(job, _)| job).collect::<Vec<_>>(), dead);
    assert_eq!(drill.events("Held"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_node_passes_however_many_jobs_it_had() {
    let mut drill = Drill::new(40, 1, Mode::Enforce);
    drill.until(WARM + 10).await;
    drill.silent = vec![true; 40];
    drill.controller.observer.tell(|state, now| state.delete_node(&"n0".into(), now));
    drill.until(WARM + 10 + 31).await;
    let failed = drill.failed();
    assert_eq!(failed.len(), 40);
    assert!(failed.iter().all(|(_, reason)| reason == "NodeGone"), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn who_only_observes_writes_to_no_job() {
    let mut drill = Drill::new(3, 3, Mode::ObserveOnly);
    drill.controller.observer.set_policy(
        serde_saphyr::from_str("set: {onLost: fail, activeTimeout: 60s, notStarting: fail}").expect("valid"),
    );
    drill.until(WARM).await;
    drill.silent = vec![true; 3];
    drill.until(WARM + 200).await;
    assert_eq!(drill.failed(), []);
    assert_eq!(drill.events("DeadlineExceeded"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_too_long_is_failed_and_so_is_one_that_gets_no_pod_by_choice() {
    let mut drill = Drill::new(2, 2, Mode::Enforce);
    let set = "set: {activeTimeout: never, startTimeout: 60s, notStarting: fail}\n\
               rules: [{match: {size: small}, set: {activeTimeout: 300s}}]";
    drill.controller.observer.tell(|state, now| {
        let labels = jobwarden_core::policy::Labels::keep([(&"size".to_owned(), &"small".to_owned())]);
        state.apply_job(JobFacts { labels, ..mk_job("job-0") }, now);
        state.delete_pod(&"pod-1".into(), now);
    });
    drill.controller.observer.set_policy(serde_saphyr::from_str(set).expect("valid"));
    drill.until(WARM + 10).await;
    assert_eq!(drill.failed(), [(1, "NotStarting".to_owned())]);
    drill.until(299).await;
    assert_eq!(drill.failed().len(), 1);
    drill.until(301).await;
    assert_eq!(drill.failed()[0], (0, "DeadlineExceeded".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_breaker_holds_jobs_that_get_no_pod_as_well_until_most_have_one() {
    let mut drill = Drill::new(40, 40, Mode::Enforce);
    let set = "set: {startTimeout: 60s, notStarting: fail}";
    drill.controller.observer.set_policy(serde_saphyr::from_str(set).expect("valid"));
    drill.controller.observer.tell(|state, now| {
        for job in 0..30 {
            state.delete_pod(&format!("pod-{job}").into(), now);
        }
    });
    drill.until(WARM + 60).await;
    assert_eq!(drill.failed(), []);
    assert_eq!(drill.held("breaker"), 30);
    drill.controller.observer.tell(|state, now| {
        for job in 0..25 {
            let node = Some(format!("n{job}").as_str().into());
            state.apply_pod(PodFacts { node, ..mk_pod(&format!("pod-{job}"), &name(job)) }, now);
        }
    });
    drill.until(WARM + 60 + 35).await;
    assert_eq!(drill.failed().into_iter().map(|(job, _)| job).collect::<Vec<_>>(), [25, 26, 27, 28, 29]);
}

#[test]
fn the_drills_are_by_the_default_policy() {
    assert_eq!(Policy::default().lost_after, Duration::from_secs(WARM - 10));
}
