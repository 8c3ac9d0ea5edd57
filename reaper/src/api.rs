//! The API: evidence, verdicts and guards as JSON, and the release of the breaker.
//!
//! | route | response |
//! |---|---|
//! | `GET /v1/jobs?namespace=&verdict=&limit=&after=` | all watched Jobs with their verdicts |
//! | `GET /v1/jobs/{namespace}/{name}` | one Job: evidence, the matching row and its rule, pending timers, the policy with the origin of each value, guards, outcomes, timeline |
//! | `GET /v1/guards` | the state of the guards, and the Jobs that they hold |
//! | `GET /v1/breaker` | what the breaker holds, since when, and what it releases next |
//! | `POST /v1/breaker/release` | releases what the breaker holds; needs the token of an operator |
//!
//! Only the leader responds: only the leader receives beats and reports, so a standby would report live workers as silent. A
//! standby responds with 503 and the name of the leader.
//!
//! Access: by default the API listens on the loopback of its pod, so that only users with the permission
//! `pods/portforward` reach it. The chart has it listen on the pod's address for `jobwarden explain`, which comes through the
//! API server's pod proxy and so needs leave to `get pods/proxy` in jobwarden's namespace. Whoever can open a connection
//! to that port can read it: the API shows names, messages and exit codes of Jobs of all namespaces, never environments, arguments or
//! logs. `networkPolicy.apiPeers` of the chart narrows who can; `reaper.api.enabled: false` switches it off.

use std::sync::Arc;

use jobwarden_serve::lease::Leadership;
use tokio::sync::watch;

pub use self::{operator::Operators, server::serve};
use crate::{controller::Enforcer, observer::Observer, outbox::Outbox};

mod operator;
mod problem;
mod routes;
mod server;
#[cfg(test)]
mod tests;

mod view;

/// What the API reads.
#[derive(Clone)]
pub struct Api {
    /// The observed state.
    pub observer: Observer,
    /// The recorded outcomes.
    pub outbox: Outbox,
    /// Verdicts and guards.
    pub enforcer: Arc<Enforcer>,
    /// Who may release the breaker.
    pub operators: Arc<Operators>,
    /// The current leader.
    pub leadership: watch::Receiver<Leadership>,
}
