//! `jobwarden-webhook serve`: the webhook at work.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use clap::Args;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use jobwarden_common::names::port;
use jobwarden_serve::{
    accept::{self, Limits, Server},
    admin::{self, AdminArgs, AdminError, Readiness},
    logs::{LogArgs, LogError},
    reload,
    shutdown::{Shutdown, ShutdownArgs, SignalError},
    tls::ServerIdentity,
};
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    admission::{self, Admission},
    certificates::{self, CertificateArgs, Keeper, LifetimeError},
    configuration::{Configuration, Herald, LoadError},
    limits::Follower,
    settings::SettingsArgs,
};

/// Answer the API server's admission requests
///
/// Makes its own certificates, keeps them in Secrets of its namespace, and writes the authority into every caBundle of the
/// mutating webhook configuration "jobwarden".
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Where to answer admission requests over HTTPS
    #[arg(long, env = "JOBWARDEN_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], port::WEBHOOK)), value_name = "IP:PORT")]
    listen: SocketAddr,

    #[command(flatten)]
    pub(crate) settings: SettingsArgs,

    /// The namespace that jobwarden is installed in
    #[arg(long, env = "JOBWARDEN_NAMESPACE", value_name = "NAME")]
    namespace: String,

    #[command(flatten)]
    certificates: CertificateArgs,

    #[command(flatten)]
    admin: AdminArgs,

    #[command(flatten)]
    logs: LogArgs,

    #[command(flatten)]
    shutdown: ShutdownArgs,
}

/// Why the webhook does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Logging.
    #[error("cannot set up logging")]
    Logs(#[from] LogError),
    /// The configuration file.
    #[error("cannot load the configuration")]
    Config(#[from] LoadError),
    /// Lifetimes that cannot be.
    #[error("cannot keep certificates")]
    Lifetimes(#[from] LifetimeError),
    /// Signals.
    #[error("cannot prepare to end")]
    Signal(#[from] SignalError),
    /// The admin port.
    #[error("cannot serve probes and metrics")]
    Admin(#[from] AdminError),
    /// The API server's address and credentials.
    #[error("cannot find the API server: neither inside a cluster nor by a kubeconfig")]
    Client(#[source] kube::Error),
    /// The port for admission.
    #[error("cannot listen on {0} for admission; --listen chooses another address")]
    Listen(SocketAddr, #[source] std::io::Error),
}

impl ServeArgs {
    /// Serves until SIGTERM.
    pub(crate) async fn run(self) -> Result<(), RunError> {
        let Self { listen, settings, namespace, certificates: source, admin, logs, shutdown: drain } = self;
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
        admin::serve(admin.admin_addr, Arc::new(registry), readiness, shutdown.clone()).await?;

        let client = Client::try_default().await.map_err(RunError::Client)?;
        let identity = ServerIdentity::new();
        let (endpoint, reaper) = watch::channel(None);
        let limits = Limits::default();
        let (ranges, bounds) = Follower::new();
        let admission = Admission::new(applying, reaper, bounds, admissions, limits);
        let listener = TcpListener::bind(listen).await.map_err(|source| RunError::Listen(listen, source))?;
        tracing::info!(%listen, namespace, "answering admission requests");

        let herald = Herald::new(client.clone(), &namespace);
        tokio::spawn(ranges.run(client.clone(), shutdown.clone()));
        tokio::spawn(configuration.follow(settings, reloads, herald, shutdown.clone()));
        let keeper = Keeper::new(client, namespace, source, identity.clone(), endpoint, gate, certificates);
        let keeping = tokio::spawn(keeper.run(shutdown.clone()));
        let service = service_fn(move |request: Request<Incoming>| {
            let admission = admission.clone();
            async move { Ok::<_, Infallible>(admission.respond(request).await) }
        });
        let server = Server::https(listener, identity.server_config(), limits, connections);
        server.run_until(service, shutdown, drain).await;
        // It may be in the midst of a call, which can be cut off anywhere.
        keeping.abort();
        Ok(())
    }
}
