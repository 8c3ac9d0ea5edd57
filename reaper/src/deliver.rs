//! Delivering: recorded outcomes become notifications, at least once and never lost.
//!
//! Every sink works for itself, so that a slow one keeps nobody else waiting. What is to be tried, and how often it was,
//! stands in the status of the `JobOutcome`: a new leader goes on where the last one ended.

mod config;
mod http;
mod retire;
mod schedule;
mod signature;
mod state;
mod worker;

use std::sync::Arc;

use futures::future::join_all;
use kube::{Api, Client};

pub use self::{
    config::{Config, ConfigError, Format, SinkConfig},
    retire::retire,
    schedule::{Next, next_attempt},
    signature::{Secrets, SecretsError},
};
use self::{http::HttpSink, state::Post, worker::Worker};
use crate::{
    metrics::Metrics,
    outbox::{JobOutcome, Outbox},
};

/// Delivers to all sinks. Clones share everything.
#[derive(Clone)]
pub struct Deliverer {
    sinks: Vec<Arc<HttpSink>>,
    outcomes: Api<JobOutcome>,
    outbox: Outbox,
    metrics: Metrics,
}

impl Deliverer {
    /// Delivers the outcomes of `namespace`, which `outbox` follows.
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

    /// Delivers for as long as it is polled: the leader drops it when it leads no more.
    pub async fn run(&self) {
        let names: Vec<_> = self.sinks.iter().map(|sink| sink.name.clone()).collect();
        let post = Arc::new(Post { outcomes: self.outcomes.clone(), outbox: self.outbox.clone(), sinks: names });
        let workers =
            self.sinks.iter().map(|sink| Worker::new(Arc::clone(sink), Arc::clone(&post), self.metrics.clone()).run());
        // Sinks that are configured no more have no worker to give up on them.
        tokio::join!(join_all(workers), post.give_up_orphans());
    }
}
