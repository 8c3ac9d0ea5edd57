//! The API: evidence, verdicts, guards and sinks as JSON, the release of the breaker, and tests of sinks.
//!
//! | route | response |
//! |---|---|
//! | `GET /v1/jobs?namespace=&verdict=&limit=&after=` | the watched Jobs that the caller may list, with their verdicts |
//! | `GET /v1/jobs/{namespace}/{name}` | one Job: evidence, the matching row and its rule, pending timers, the policy with the origin of each value, guards, outcomes, timeline |
//! | `GET /v1/guards` | the state of the guards, and the Jobs that they hold |
//! | `GET /v1/breaker` | what the breaker holds, since when, and what it releases next |
//! | `GET /v1/access` | whether callers can be authenticated and authorized |
//! | `GET /v1/sinks` | the sinks: state, pending, oldest, last error, next attempt |
//! | `POST /v1/breaker/release` | releases what the breaker holds; needs the token of an operator |
//! | `POST /v1/sinks/{name}/test` | sends one sample of each kind of outcome; needs the token of an operator |
//!
//! Only the leader responds: only the leader receives beats and reports, so a standby would report live workers as silent. A
//! standby responds with 503 and the name of the leader.
//!
//! Access: two ways in. On the loopback of the pod over plain HTTP without a token: only `pods/portforward` in jobwarden's namespace leads
//! there, by which `jobwarden explain` comes. And over TLS with a bearer token: `access` asks the API server who the caller is, and
//! whether he may list or get the Jobs of that namespace. Messages that may hold log lines are only for who may read logs there. The API
//! shows names, messages and exit codes, never environments or arguments.

use std::sync::Arc;

use jobwarden_serve::lease::Leadership;
use tokio::sync::{Semaphore, watch};

pub use self::{
    access::Access,
    metrics::Metrics,
    operator::Operators,
    server::{serve, serve_tls},
};
use crate::{controller::Enforcer, deliver::Deliverer, observer::Observer, outbox::Outbox};

mod access;
mod list;
mod metrics;
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
    /// The sinks.
    pub deliverer: Deliverer,
    /// Verdicts and guards.
    pub enforcer: Arc<Enforcer>,
    /// Who may read what.
    pub access: Arc<Access>,
    /// Whether the API is served over TLS, too.
    pub tls: bool,
    /// Lists are built one at a time.
    pub lists: Arc<Semaphore>,
    /// Who may release the breaker and test sinks.
    pub operators: Arc<Operators>,
    /// The current leader.
    pub leadership: watch::Receiver<Leadership>,
}
