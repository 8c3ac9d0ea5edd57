//! The crash matrix: every write and every send of the way from a finished Job to its deletion crashes before or after it takes effect, fails, or
//! happens twice. The orchestrator always receives the outcome, always the same one, and the Job is always released and deleted.
//!
//! ```text
//!  record the outcome ─► remove the finalizer ─► send ─► write the status ─► delete the Job
//! ```
//!
//! A crash drops every task of the reaper. The next one knows nothing but what the API server in memory holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jobwarden_common::{
    names::{FINALIZER, label},
    notification::CloudEvent,
};
use jobwarden_serve::tls::install_crypto_provider;
use k8s_openapi::api::batch::v1::Job;
use kube::runtime::watcher::Event;
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify, time::timeout};

use super::*;
use crate::fake_api::Failure;

const JOB: &str = "/apis/batch/v1/namespaces/ort/jobs/analyzer-7";
const OUTCOME: &str = "/apis/jobwarden.io/v1alpha1/namespaces/jobwarden/joboutcomes/1111.final";
/// How often the reaper's watches deliver, in this test.
const WATCH_INTERVAL: Duration = Duration::from_millis(10);
/// How long a case may take: several backoffs of a second.
const PATIENCE: Duration = Duration::from_mins(1);

/// What happens to a write or a send.
const MODES: [Failure; 4] = [Failure::CrashBefore, Failure::CrashAfter, Failure::After, Failure::Twice];

/// How the Job ends.
#[derive(Clone, Copy, Debug)]
enum Story {
    Succeeds,
    Fails,
    IsDeletedWhileRunning,
    /// It runs for longer than its active timeout, so jobwarden fails it.
    IsOverdue,
}

/// The step that something happens to.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The write with this number.
    Write(usize),
    /// The send with this number.
    Send(usize),
}

/// The orchestrator.
#[derive(Clone)]
struct Orchestrator {
    addr: SocketAddr,
    state: Arc<Mutex<Received>>,
    crashed: Arc<Notify>,
}

#[derive(Default)]
struct Received {
    /// The bodies by ID.
    bodies: BTreeMap<String, BTreeSet<Bytes>>,
    requests: usize,
    fail: Option<(usize, Failure)>,
}

impl Orchestrator {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
        let addr = listener.local_addr().expect("it is bound");
        let orchestrator = Self { addr, state: Arc::default(), crashed: Arc::default() };
        let serving = orchestrator.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                let service = service_fn(move |request| {
                    let serving = serving.clone();
                    async move { serving.receive(request).await }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        orchestrator
    }

    async fn receive(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let body = request.into_body().collect().await?.to_bytes();
        let failure = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let number = state.requests;
            state.requests += 1;
            let failure = state.fail.filter(|(at, _)| *at == number).map(|(_, failure)| failure);
            if failure != Some(Failure::CrashBefore) {
                let event: CloudEvent = serde_json::from_slice(&body).expect("a CloudEvent");
                state.bodies.entry(event.id).or_default().insert(body);
            }
            failure
        };
        let status = match failure {
            Some(Failure::CrashBefore | Failure::CrashAfter) => {
                self.crashed.notify_one();
                return std::future::pending().await;
            }
            Some(Failure::After) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::NO_CONTENT,
        };
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        Ok(response)
    }

    fn received(&self) -> BTreeMap<String, BTreeSet<Bytes>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).bodies.clone()
    }
}

/// The object of the Job.
fn mk_job_object(story: Story) -> Value {
    let metadata = json!({
        "namespace": "ort", "uid": "1111", "finalizers": [FINALIZER],
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "labels": { label::ENROLLED: "true", label::RUN_ID: "41" },
        "annotations": { label::RUN_ID: "41", "jobwarden.io/retention": "0s" },
    });
    let condition =
        |type_: &str| json!({ "type": type_, "status": "True", "lastTransitionTime": "2026-01-02T03:05:05Z" });
    let (deletion, conditions) = match story {
        Story::Succeeds => (Value::Null, json!([condition("SuccessCriteriaMet"), condition("Complete")])),
        Story::Fails => (Value::Null, json!([condition("FailureTarget"), condition("Failed")])),
        Story::IsDeletedWhileRunning => (json!("2026-01-02T03:05:05Z"), json!([])),
        Story::IsOverdue => (Value::Null, json!([])),
    };
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
        "spec": { "template": { "spec": { "containers": [{ "name": "main" }], "restartPolicy": "Never" } } },
        "status": { "startTime": "2026-01-02T03:04:05Z", "conditions": conditions },
    });
    if !deletion.is_null() {
        job["metadata"]["deletionTimestamp"] = deletion;
    }
    if let Story::IsOverdue = story {
        job["metadata"]["annotations"]["jobwarden.io/active-timeout"] = json!("1m");
    }
    job
}

/// What the Job controller of Kubernetes does once a Job has the condition FailureTarget and no pod: it adds Failed.
fn control_jobs(api: &FakeApi) {
    let Some(mut job) = api.get(JOB) else { return };
    let conditions = job["status"]["conditions"].as_array_mut().expect("a list");
    let failing = conditions.iter().find(|condition| condition["type"] == "FailureTarget").cloned();
    if let Some(mut condition) = failing
        && conditions.iter().all(|condition| condition["type"] != "Failed")
    {
        condition["type"] = json!("Failed");
        conditions.push(condition);
        api.put(JOB, job);
    }
}

/// A reaper that leads, with nothing in its memory.
fn mk_controller(api: &FakeApi, orchestrator: &Orchestrator) -> Controller {
    let (observer, outbox, metrics) = (Observer::of_new_leader(), Outbox::new(), Metrics::default());
    observer.own_beat_arrived();
    observer.with(|index, now| {
        index.set_enrolled("ort", true, now);
        index.namespaces_listed(|name| name == "ort", now);
    });
    let sink = json!({ "name": "ort", "url": format!("http://{}/", orchestrator.addr) });
    let config = Config { sinks: vec![serde_json::from_value(sink).expect("a valid sink")], ..Config::default() };
    let (client, routes) = (api.client(), Routes::default());
    let executor = Executor::new(
        client.clone(),
        "jobwarden",
        "reaper-0".to_owned(),
        outbox.clone(),
        routes.clone(),
        FailWith::FailureTarget,
        metrics.clone(),
    );
    let events = executor.events().clone();
    let deliverer =
        Deliverer::new(&config, routes, client.clone(), "jobwarden", events, outbox.clone(), metrics.clone());
    let mode = Mode::Enforce;
    Controller {
        deliverer: deliverer.expect("a valid sink"),
        unfollowed: Unfollowed::new(client.clone(), observer.clone(), executor.clone(), mode, metrics.clone()),
        enforcer: Arc::new(Enforcer::new(observer.clone(), outbox.clone(), executor, mode)),
        backfill: None,
        orphans: Orphans::new(client.clone(), observer.clone(), outbox.clone(), mode, metrics.clone()),
        role: Role::new(client.clone(), "jobwarden", "reaper-0"),
        outcomes: Api::namespaced(client, "jobwarden"),
        observer,
        outbox,
        retention: Retention { age: Duration::from_hours(1), count: 100, bytes: 1 << 20 },
        metrics,
    }
}

/// Delivers the objects of the API server to the reaper, as its watches do.
async fn watch(api: FakeApi, observer: Observer, outbox: Outbox) {
    let (mut seen, mut known): (_, Option<Job>) = (None, None);
    loop {
        control_jobs(&api);
        let version = api.version();
        if seen != Some(version) {
            seen = Some(version);
            let job = api.get(JOB).map(|job| serde_json::from_value::<Job>(job).expect("a Job"));
            match (&job, &known) {
                (Some(job), _) => observer.job(job),
                (None, Some(gone)) => observer.job_deleted(gone),
                (None, None) => {}
            }
            known = job;
            outbox.apply(Event::Init);
            for outcome in api.paths("/joboutcomes/").iter().filter_map(|path| api.get(path)) {
                outbox.apply(Event::InitApply(serde_json::from_value(outcome).expect("an outcome")));
            }
            outbox.apply(Event::InitDone);
        }
        sleep(WATCH_INTERVAL).await;
    }
}

/// Runs reapers, each until it crashes, until the Job is gone and the outcome is known to be received.
async fn until_the_job_is_gone(api: &FakeApi, orchestrator: &Orchestrator) {
    loop {
        let controller = mk_controller(api, orchestrator);
        let watching = watch(api.clone(), controller.observer.clone(), controller.outbox.clone());
        let settled = || api.get(OUTCOME).is_some_and(|outcome| outcome["status"]["summary"] == "ort acknowledged");
        let gone = async {
            while api.get(JOB).is_some() || !settled() {
                sleep(WATCH_INTERVAL).await;
            }
        };
        tokio::select! {
            () = gone => return,
            () = api.crashed() => {}
            () = orchestrator.crashed.notified() => {}
            () = async { tokio::join!(controller.lead(), watching); } => {}
        }
    }
}

/// One case. Returns the writes and the number of requests to the orchestrator.
async fn run(story: Story, fault: Option<(Step, Failure)>) -> (Vec<String>, usize) {
    let (api, orchestrator) = (FakeApi::default(), Orchestrator::start().await);
    api.put(JOB, mk_job_object(story));
    match fault {
        Some((Step::Write(number), failure)) => api.fail(number, failure),
        Some((Step::Send(number), failure)) => {
            orchestrator.state.lock().unwrap_or_else(PoisonError::into_inner).fail = Some((number, failure));
        }
        None => {}
    }
    let case = format!("{story:?}, {fault:?}");
    let ended = timeout(PATIENCE, Box::pin(until_the_job_is_gone(&api, &orchestrator))).await;
    ended.unwrap_or_else(|_| panic!("{case}: the Job is still there: {:?}, {:?}", api.get(JOB), api.writes()));
    assert!(api.has_failed(), "{case}: the fault did not happen: {:?}", api.writes());
    let received = orchestrator.received();
    assert_eq!(received.keys().collect::<Vec<_>>(), ["1111.final"], "{case}: one ID for one outcome");
    assert_eq!(received["1111.final"].len(), 1, "{case}: always the same content");
    assert_eq!(api.paths("/joboutcomes/").len(), 1, "{case}: one outcome is recorded");
    let requests = orchestrator.state.lock().unwrap_or_else(PoisonError::into_inner).requests;
    (api.writes(), requests)
}

#[tokio::test]
async fn whatever_happens_to_a_step_the_outcome_is_received_and_the_job_is_released() {
    install_crypto_provider();
    let mut cases = 0;
    for story in [Story::Succeeds, Story::Fails, Story::IsDeletedWhileRunning, Story::IsOverdue] {
        let (writes, requests) = run(story, None).await;
        assert!(writes.len() >= 3 && requests == 1, "{story:?}: {writes:?}");
        let steps = (0..writes.len()).map(Step::Write).chain([Step::Send(0)]);
        let faults = steps.flat_map(|step| MODES.map(|mode| (step, mode)));
        let runs: Vec<_> = faults.map(|fault| run(story, Some(fault))).collect();
        cases += runs.len();
        join_all(runs).await;
    }
    println!("crash matrix: {cases} cases");
}
