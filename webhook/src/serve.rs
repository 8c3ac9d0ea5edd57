//! The process: how the parts are put together, from start to end.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use jobwarden_serve::{
    accept::{self, Limits, Server},
    admin::{self, AdminError, Readiness},
    logs::LogError,
    reload,
    scrape::MetricsError,
    shutdown::{Shutdown, SignalError},
    tls::ServerIdentity,
};
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::{
    admission::{self, Admission},
    args::WebhookArgs,
    certificates::{self, Controller, LifetimeError},
    configuration::{Configuration, EventRecorder},
    limits::Watchers,
    settings::LoadError,
};

/// Why the webhook cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Logging.
    #[error("cannot set up logging")]
    Logs(#[from] LogError),
    /// The configuration file.
    #[error("cannot load the configuration")]
    Config(#[from] LoadError),
    /// The lifetimes of certificates.
    #[error("invalid certificate lifetimes")]
    Lifetimes(#[from] LifetimeError),
    /// Signals.
    #[error("cannot install signal handlers")]
    Signal(#[from] SignalError),
    /// The admin port.
    #[error("cannot serve probes")]
    Admin(#[from] AdminError),
    /// The metrics port.
    #[error("cannot serve metrics")]
    Metrics(#[from] MetricsError),
    /// The API server's address and credentials.
    #[error("cannot find the API server: no service account and no kubeconfig")]
    Client(#[source] kube::Error),
    /// The port for admission.
    #[error("cannot listen on {0} for admission requests; --listen sets another address")]
    Listen(SocketAddr, #[source] std::io::Error),
}

impl WebhookArgs {
    /// Serves until SIGTERM.
    pub async fn run(self) -> Result<(), RunError> {
        let Self { listen, settings, namespace, certificates: source, admin, metrics, limits, logs, shutdown: drain } =
            self;
        logs.init()?;
        let source = source.source()?;
        let (configuration, settings) = Configuration::load(settings)?;
        let (settings, applying) = watch::channel(Arc::new(settings));

        let mut registry = Registry::default();
        let admissions = admission::Metrics::register(&mut registry);
        let reloads = reload::Metrics::register(&mut registry, reload::CONFIG);
        let certificates = certificates::Metrics::register(&mut registry);
        let connections = accept::Metrics::default();
        connections.register(&mut registry);
        let shutdown = Shutdown::on_signals()?;
        let readiness = Readiness::new();
        let gate = readiness.condition("certificates");
        let probes = accept::Metrics::default();
        admin::serve(admin.admin_addr, probes.clone(), readiness, shutdown.clone())?;
        metrics.serve(registry, &probes)?;

        let client = Client::try_default().await.map_err(RunError::Client)?;
        let identity = ServerIdentity::new();
        let (endpoint, reaper) = watch::channel(None);
        let limits = limits.apply(Limits::default());
        let (watchers, ranges) = Watchers::new();
        let admission = Admission::new(applying, reaper, ranges, admissions, limits);
        let listener = accept::listen(listen).map_err(|source| RunError::Listen(listen, source))?;
        tracing::info!(%listen, namespace, "answering admission requests");

        let events = EventRecorder::new(client.clone(), &namespace);
        tokio::spawn(watchers.run(client.clone(), shutdown.clone()));
        tokio::spawn(configuration.follow(settings, reloads, events, shutdown.clone()));
        let controller = Controller::new(client, namespace, source, identity.clone(), endpoint, gate, certificates);
        let reconciling = tokio::spawn(controller.run(shutdown.clone()));
        let service = service_fn(move |request: Request<Incoming>| {
            let admission = admission.clone();
            async move { Ok::<_, Infallible>(admission.respond(request).await) }
        });
        let server = Server::https(listener, identity.server_config(), limits, connections);
        server.run_until(service, shutdown, drain).await;
        // Safe to interrupt anywhere.
        reconciling.abort();
        Ok(())
    }
}
