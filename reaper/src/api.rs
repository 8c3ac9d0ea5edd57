//! The API: what the reaper knows and concludes, as JSON for people and machines. It reads and never writes.
//!
//! | route | what it tells |
//! |---|---|
//! | `GET /v1/jobs?namespace=&verdict=&limit=&after=` | every Job that is watched, with its verdict |
//! | `GET /v1/jobs/{namespace}/{name}` | everything about one: evidence, the row that matched and why, the timers that still run, the policy and where each value comes from, guards, outcomes, timeline |
//! | `GET /v1/guards` | what would hold lost verdicts, and which Jobs are held |
//!
//! Only the leader answers: beats and reports go to it alone, so a standby would call living workers silent. A standby says
//! 503 and who leads.
//!
//! Who may read: by default the API listens on the loopback of its pod, so that only those reach it who may
//! `pods/portforward` there. The chart has it listen on the pod's address for `jobwarden explain`, which comes through the
//! API server's pod proxy and so needs leave to `get pods/proxy` in jobwarden's namespace. Whoever can open a connection
//! to that port can read it: it tells names, messages and exit codes of Jobs of all namespaces, never environments, arguments or
//! logs. `networkPolicy.apiPeers` of the chart narrows who can; `reaper.api.enabled: false` switches it off.

use std::sync::Arc;

use jobwarden_serve::lease::Leadership;
use tokio::sync::watch;

pub use self::server::serve;
use crate::{controller::Enforcer, observer::Observer, outbox::Outbox};

mod problem;
mod routes;
mod server;
#[cfg(test)]
mod tests;

mod view;

/// What the API reads.
#[derive(Clone)]
pub struct Api {
    /// What is known.
    pub observer: Observer,
    /// What was recorded.
    pub outbox: Outbox,
    /// What is concluded and held.
    pub enforcer: Arc<Enforcer>,
    /// Who leads.
    pub leadership: watch::Receiver<Leadership>,
}
