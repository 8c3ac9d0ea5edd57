//! Delivers recorded outcomes to sinks as notifications, at least once.
//!
//! ```text
//!  outbox ──names that changed──► queue (one a sink) ──due──► format ──Message──► sink ──acknowledged | Failure──► queue
//!                                  │ schedule, breaker                                                             │
//!                                  └──────────── status, if the state or the error has changed ◄───────────────────┘
//! ```
//!
//! Each sink has its own worker and queue, so that a slow sink does not delay the others. Which sinks receive an outcome is decided by
//! [`Routes`] when it is recorded. The status of the `JobOutcome` holds the state for each sink, so that a new leader continues where the
//! last one stopped. How long and how often a delivery is retried is decided in `deliver/schedule.rs`.

mod amqp;
pub mod breaker;
mod broker;
mod config;
mod duration;
mod filter;
mod format;
mod garbage_collection;
mod http;
mod message;
pub mod queue;
mod rabbitmq;
mod reports;
mod routes;
mod sample;
mod schedule;
mod sink;
mod sink_config;
mod status;
mod worker;

use std::sync::Arc;

use futures::future::join_all;
use jobwarden_common::api::{SinkReport, SinkTestSample};
use kube::{Api, Client, runtime::events::Recorder};
use tokio::sync::watch;

pub use self::{
    amqp::{AmqpError, AmqpSink},
    broker::{BodySection, BrokerSettings, ConnectError, Credentials, CredentialsError, SettingsError},
    config::{Config, ConfigError},
    filter::Filter,
    format::{Format, OrtServer},
    garbage_collection::{Retention, collect_garbage},
    http::{CustomHeaders, HttpSettings, HttpSettingsError},
    message::{Fault, Message, Property, Unsent},
    rabbitmq::{RabbitMqError, RabbitMqSink},
    routes::Routes,
    sink_config::{SinkConfig, SinkError, Transport},
};
use self::{reports::Reports, sink::Sink, status::StatusWriter, worker::Worker};
use crate::{clock, metrics::Metrics, outbox::Outbox};

/// Delivers to all sinks. Clones share the same state.
#[derive(Clone)]
pub struct Deliverer {
    sinks: watch::Sender<Vec<Arc<Sink>>>,
    routes: Routes,
    reports: Reports,
    statuses: Arc<StatusWriter>,
    metrics: Metrics,
}

impl Deliverer {
    /// Delivers the outcomes of `namespace`, which `outbox` watches, to the sinks of `config`, and keeps `routes` to them. `events`
    /// publishes what is given up.
    ///
    /// # Errors
    ///
    /// Returns an error if the client of a sink cannot be set up.
    pub fn new(
        config: &Config,
        routes: Routes,
        client: Client,
        namespace: &str,
        events: Recorder,
        outbox: Outbox,
        metrics: Metrics,
    ) -> Result<Self, SinkError> {
        let statuses = Arc::new(StatusWriter { outcomes: Api::namespaced(client, namespace), events, outbox });
        let deliverer =
            Self { sinks: watch::Sender::default(), routes, reports: Reports::default(), statuses, metrics };
        deliverer.replace(config)?;
        Ok(deliverer)
    }

    /// Sets up every sink of `config` without using it.
    ///
    /// # Errors
    ///
    /// Returns an error if the client of a sink cannot be set up.
    pub fn check(config: &Config) -> Result<(), SinkError> {
        config.sinks.iter().try_for_each(|sink| Sink::new(sink).map(drop))
    }

    /// Replaces the sinks, if they are others than before. What is under way to one of the former is then attempted again.
    ///
    /// # Errors
    ///
    /// Returns an error if the client of a sink cannot be set up; the sinks then stay as they are.
    pub fn replace(&self, config: &Config) -> Result<(), SinkError> {
        // A change of the policy alone interrupts no delivery.
        if self.routes.lead_to(&config.sinks) {
            return Ok(());
        }
        let sinks: Result<Vec<_>, _> = config.sinks.iter().map(|sink| Sink::new(sink).map(Arc::new)).collect();
        let sinks = sinks?;
        self.routes.replace(&config.sinks);
        self.sinks.send_replace(sinks);
        Ok(())
    }

    /// Delivers until the future is dropped, which the controller does when it stops being the leader.
    pub async fn run(&self) {
        let mut sinks = self.sinks.subscribe();
        loop {
            let current = sinks.borrow_and_update().clone();
            tokio::select! {
                () = self.deliver_to(&current) => {}
                // The channel stays open because this holds its sender.
                _ = sinks.changed() => {}
            }
        }
    }

    /// The routes to the current sinks.
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// The state of each sink, as of the last time that its worker had something to do.
    pub fn reports(&self) -> Vec<SinkReport> {
        self.reports.all()
    }

    /// Sends one sample of each kind of outcome to the sink `name`, whatever its filter says; `None` if there is no such sink.
    pub async fn test(&self, name: &str) -> Option<Vec<SinkTestSample>> {
        let sink = self.sinks.borrow().iter().find(|sink| sink.name == name).cloned()?;
        let mut tested = Vec::new();
        for sample in sample::samples(name, clock::now()) {
            let (result, error) = match sink.format.message(&sample) {
                Err(unsent) => ("skipped", Some(unsent.to_string())),
                Ok(message) => match sink.send(&message, clock::now()).await {
                    Ok(()) => ("acknowledged", None),
                    Err(failure) => ("failed", Some(failure.error)),
                },
            };
            tested.push(SinkTestSample { kind: sample.spec.kind.to_string(), result: result.to_owned(), error });
        }
        Some(tested)
    }

    async fn deliver_to(&self, sinks: &[Arc<Sink>]) {
        let workers = sinks.iter().map(|sink| {
            Worker::new(Arc::clone(sink), Arc::clone(&self.statuses), self.reports.clone(), self.metrics.clone()).run()
        });
        let names = sinks.iter().map(|sink| sink.name.clone()).collect();
        self.reports.keep(&names);
        // Sinks that were removed from the configuration have no worker.
        tokio::join!(join_all(workers), self.statuses.expire_unconfigured_sinks(&names));
    }
}
