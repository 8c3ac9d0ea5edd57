//! Delivers recorded outcomes to sinks as notifications, at least once.
//!
//! Each sink has its own worker and queue, so that a slow sink does not delay the others. The status of the `JobOutcome` holds
//! the state and the number of attempts per sink, so that a new leader continues where the last one stopped. How long and how
//! often a delivery is retried is decided in `deliver/schedule.rs`.

mod config;
mod garbage_collection;
mod http;
mod message;
mod schedule;
mod signature;
mod status;
mod worker;

use std::sync::Arc;

use futures::future::join_all;
use kube::{Api, Client};

pub use self::{
    config::{Config, ConfigError, Format, SinkConfig},
    garbage_collection::collect_garbage,
    message::{Fault, Message, Property, Unsent},
    schedule::{Next, next_attempt},
    signature::{Secrets, SecretsError},
};
use self::{http::HttpSink, status::StatusWriter, worker::Worker};
use crate::{
    metrics::Metrics,
    outbox::{JobOutcome, Outbox},
};

/// Delivers to all sinks. Clones share the same state.
#[derive(Clone)]
pub struct Deliverer {
    sinks: Vec<Arc<HttpSink>>,
    outcomes: Api<JobOutcome>,
    outbox: Outbox,
    metrics: Metrics,
}

impl Deliverer {
    /// Delivers the outcomes of `namespace`, which `outbox` watches.
    ///
    /// # Errors
    ///
    /// Returns an error if the client of a sink cannot be set up.
    pub fn new(
        config: &Config,
        client: Client,
        namespace: &str,
        outbox: Outbox,
        metrics: Metrics,
    ) -> Result<Self, ConfigError> {
        let sinks: Result<Vec<_>, _> = config.sinks.iter().map(|sink| HttpSink::new(sink).map(Arc::new)).collect();
        Ok(Self { sinks: sinks?, outcomes: Api::namespaced(client, namespace), outbox, metrics })
    }

    /// Delivers until the future is dropped, which the controller does when it stops being the leader.
    pub async fn run(&self) {
        let sinks = self.sinks.iter().map(|sink| sink.name.clone()).collect();
        let statuses = Arc::new(StatusWriter { outcomes: self.outcomes.clone(), outbox: self.outbox.clone(), sinks });
        let workers = self
            .sinks
            .iter()
            .map(|sink| Worker::new(Arc::clone(sink), Arc::clone(&statuses), self.metrics.clone()).run());
        // Sinks that were removed from the configuration have no worker.
        tokio::join!(join_all(workers), statuses.expire_unconfigured_sinks());
    }
}
