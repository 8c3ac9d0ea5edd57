//! Candidates against an API server that stores one Lease and can become unreachable, in paused time.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Client, client::Body};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Election, Leadership, LeaseArgs};
use crate::shutdown::Shutdown;

const ARGS: LeaseArgs = LeaseArgs {
    lease_duration: Duration::from_secs(15),
    lease_renew: Duration::from_secs(5),
    lease_retry: Duration::from_secs(2),
};

/// An API server with at most one Lease.
#[derive(Clone, Default)]
struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Lease>,
    version: u64,
}

impl ApiServer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the lock")
    }

    fn holder(&self) -> Option<String> {
        self.state().lease.as_ref()?.spec.as_ref()?.holder_identity.clone()
    }

    /// A client of this server, and a switch that disconnects it: requests then hang, as in a network partition.
    fn client(&self) -> (Client, watch::Sender<bool>) {
        let (cut, is_cut) = watch::channel(false);
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (server, mut is_cut) = (server.clone(), is_cut.clone());
            async move {
                // A dropped sender leaves the connection as it was.
                let _ = is_cut.wait_for(|cut| !cut).await;
                Ok::<_, Infallible>(server.answer(request).await)
            }
        });
        (Client::new(service, "jobwarden"), cut)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let method = request.method().clone();
        let body = request.into_body().collect().await.expect("a body in memory").to_bytes();
        let mut state = self.state();
        let seen = state.lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        if method == Method::GET {
            return match &state.lease {
                Some(lease) => reply(StatusCode::OK, lease),
                None => refusal(StatusCode::NOT_FOUND, "NotFound"),
            };
        }
        let mut lease: Lease = serde_json::from_slice(&body).expect("a Lease");
        if method == Method::POST && seen.is_some() {
            return refusal(StatusCode::CONFLICT, "AlreadyExists");
        }
        if method == Method::PUT && lease.metadata.resource_version != seen {
            return refusal(StatusCode::CONFLICT, "Conflict");
        }
        state.version += 1;
        lease.metadata.resource_version = Some(state.version.to_string());
        state.lease = Some(lease.clone());
        reply(StatusCode::OK, &lease)
    }
}

fn reply(status: StatusCode, body: &impl serde::Serialize) -> Response<Body> {
    let body = serde_json::to_vec(body).expect("plain data");
    Response::builder().status(status).body(Body::from(body)).expect("a valid response")
}

fn refusal(status: StatusCode, reason: &str) -> Response<Body> {
    let body = serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": status.as_u16()});
    reply(status, &body)
}

struct Process {
    leadership: watch::Receiver<Leadership>,
    cut: watch::Sender<bool>,
    shutdown: Shutdown,
}

fn process(server: &ApiServer, me: &str) -> Process {
    let (client, cut) = server.client();
    let shutdown = Shutdown::manual();
    let leadership = Election::start(client, "jobwarden", "jobwarden-reaper", me.to_owned(), ARGS, shutdown.clone());
    Process { leadership, cut, shutdown }
}

impl Process {
    async fn leads(&mut self) -> i32 {
        let now = self.leadership.wait_for(Leadership::leads).await.expect("the election is running").clone();
        let Leadership::Leader { term } = now else { panic!("waited for a leader") };
        term
    }

    async fn stands_by(&mut self) -> Leadership {
        self.leadership.wait_for(|now| !now.leads()).await.expect("the election is running").clone()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_and_the_second_knows_the_holder() {
    let server = ApiServer::default();
    let mut first = process(&server, "first");
    assert_eq!(first.leads().await, 0);
    let mut second = process(&server, "second");
    let waits = second.leadership.wait_for(|now| matches!(now, Leadership::Standby { holder: Some(_) })).await;
    assert_eq!(*waits.expect("the election is running"), Leadership::Standby { holder: Some("first".to_owned()) });
}

#[tokio::test(start_paused = true)]
async fn after_a_clean_shutdown_of_the_leader_a_standby_leads_before_the_lease_expires() {
    let server = ApiServer::default();
    let mut first = process(&server, "first");
    first.leads().await;
    let mut second = process(&server, "second");
    second.stands_by().await;

    first.shutdown.trigger();
    let asked = Instant::now();
    while first.leadership.changed().await.is_ok() {}
    assert_eq!(*first.leadership.borrow(), Leadership::Standby { holder: None });
    assert_eq!(second.leads().await, 1, "a new leader is a new term");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_leader_steps_down_before_another_leads() {
    let server = ApiServer::default();
    let mut first = process(&server, "first");
    first.leads().await;
    let mut second = process(&server, "second");
    second.stands_by().await;

    first.cut.send_replace(true);
    let cut = Instant::now();
    let stepped_down = async {
        first.stands_by().await;
        cut.elapsed()
    };
    let took_over = async {
        second.leads().await;
        cut.elapsed()
    };
    let (stepped_down, took_over) = tokio::join!(stepped_down, took_over);
    assert!(stepped_down <= ARGS.renew_deadline(), "{stepped_down:?}");
    assert!(took_over >= stepped_down + Duration::from_secs(2), "{took_over:?} after {stepped_down:?}");
    assert!(took_over <= ARGS.lease_duration + Duration::from_secs(3), "{took_over:?}");

    // Connected again, it is a standby.
    first.cut.send_replace(false);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(*first.leadership.borrow(), Leadership::Standby { holder: Some("second".to_owned()) });
    assert!(second.leadership.borrow().leads());
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_deadline_does_not_change_the_leader() {
    let server = ApiServer::default();
    let mut first = process(&server, "first");
    let term = first.leads().await;
    for _ in 0..20 {
        first.cut.send_replace(true);
        sleep(Duration::from_secs(4)).await;
        first.cut.send_replace(false);
        sleep(Duration::from_secs(6)).await;
        assert!(!first.leadership.has_changed().expect("the election is running"));
    }
    assert_eq!(*first.leadership.borrow(), Leadership::Leader { term });
}

#[tokio::test(start_paused = true)]
async fn there_are_never_two_leaders_whichever_process_is_disconnected() {
    let server = ApiServer::default();
    let processes: Vec<_> = ["a", "b", "c"].iter().map(|me| process(&server, me)).collect();
    let mut random = fastrand::Rng::with_seed(7);
    let mut led = std::collections::BTreeSet::new();
    for _ in 0..2_000 {
        let one = &processes[random.usize(..processes.len())];
        one.cut.send_replace(random.u8(..10) < 4);
        sleep(Duration::from_millis(random.u64(100..6_000))).await;
        let leaders: Vec<_> = (0..processes.len()).filter(|of| processes[*of].leadership.borrow().leads()).collect();
        assert!(leaders.len() <= 1, "{leaders:?}");
        led.extend(leaders);
    }
    assert_eq!(led.len(), processes.len(), "the run shows too little: only {led:?} led");
    assert!(server.holder().is_some());
}
