//! The process: how the rooms are wired together, and its life from start to shutdown.

use std::{convert::Infallible, future::Future, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use jiff::SignedDuration;
use jobwarden_common::{
    identity::PodUid,
    names::{object, port},
};
use jobwarden_core::{judge, policy::Policy, reconcile::Mode, selection::Selection};
use jobwarden_serve::{
    accept::{self, LimitArgs, Limits, Server},
    admin::{self, AdminArgs, AdminError, Gate, Readiness},
    lease::{Election, Leadership},
    logs::{LogError, with_causes},
    open_files, reload,
    scrape::{MetricsArgs, MetricsError},
    secret::follow_tls_secret,
    shutdown::{Shutdown, SignalError},
    tls::ServerIdentity,
};
use kube::{Api, Client};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::sleep,
};

use crate::{
    api::{self, Access, Operators},
    args::ReaperArgs,
    backfill::{self, Backfill, rules},
    clock,
    configuration::{self, Followed},
    controller::{Controller, Enforcer, Role},
    deliver::{Config, ConfigError, Deliverer, Routes, SinkError},
    execute::{Executor, FailWith},
    following::{FollowError, Following},
    intake::{self, Intake, IntakeSettings, agents::Agents, keys::KeyRing, review::Reviewer, token::Verifier},
    metrics::Metrics,
    namespaces::OwnNamespaces,
    observer::Observer,
    orphans::Orphans,
    outbox::Outbox,
    self_beat::SelfBeat,
    unfollowed::Unfollowed,
    watch::{self as cluster, Schedule},
};

/// How often a starting process checks whether all watches have listed.
const SYNC_EVERY: Duration = Duration::from_millis(200);
/// The shortest interval of the reports of agents, however short the interval of beats is.
const SHORTEST_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// The longest interval: three missing reports make an agent silent.
const LONGEST_REPORT_INTERVAL: Duration = Duration::from_secs(judge::AGENT_SILENT_AFTER.as_secs() / 3);

/// Each enrolled worker pod and each node keeps one connection open: this is enough for 20,000 workers on as many nodes as Kubernetes
/// supports (5,000). `cargo xtask bench reaper` measures the cost of an idle connection.
const MAX_CONNECTIONS: usize = 25_000;

/// Connections of one source. A dense node has some hundred sidecars.
const SOURCE_CONNECTIONS: usize = 1024;

/// File descriptors for everything else: watches, notifications, the other ports.
const OTHER_FILES: usize = 512;

/// Why the process exits with an error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Logs.
    #[error(transparent)]
    Logs(#[from] LogError),
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The sinks.
    #[error(transparent)]
    Sinks(#[from] SinkError),
    /// Signals.
    #[error(transparent)]
    Signals(#[from] SignalError),
    /// The admin port.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The metrics port.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The port for beats.
    #[error("cannot listen on {0} for beats; --listen sets another address")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The port for people.
    #[error("cannot listen on {0} for the API; --api-addr and --api-tls-addr set other addresses")]
    ListenApi(SocketAddr, #[source] std::io::Error),
    /// No API server.
    #[error("cannot find the API server: run in a pod with a service account, or set KUBECONFIG")]
    Client(#[source] kube::Error),
    /// The rules by which IDs are found.
    #[error(transparent)]
    Rules(#[from] rules::LoadError),
    /// Which Jobs are followed, and how.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// A background task that never returns has returned.
    #[error("background task exited unexpectedly; restarting is safe")]
    TaskExited(#[source] Option<tokio::task::JoinError>),
}

impl ReaperArgs {
    /// Serves until SIGTERM.
    pub async fn run(self) -> Result<(), RunError> {
        Box::pin(serve(self)).await
    }
}

async fn serve(args: ReaperArgs) -> Result<(), RunError> {
    let ReaperArgs {
        listen,
        api_addr,
        api_tls_addr,
        config,
        identity_config,
        namespace,
        pod_name,
        pod_uid,
        agent_namespace,
        token_file,
        policy,
        retention,
        fail_with,
        observe_only,
        follow,
        beat_interval,
        clock_skew_seconds,
        lease,
        admin,
        metrics: metrics_port,
        limits,
        drain,
        logs,
    } = args;
    logs.init()?;
    let (policy, warnings) = policy.policy();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let own = OwnNamespaces::new([namespace.clone(), agent_namespace.clone()]);
    let Following { variables, schedule, selection } = Following::resolve(follow, &own)?;
    let configuration = configuration::load(config, variables)?;
    let config = configuration.config().clone();
    let rules = rules::load(identity_config)?;
    let shutdown = Shutdown::on_signals()?;
    clock::skew(SignedDuration::from_secs(clock_skew_seconds));
    let client = clock::client().await.map_err(RunError::Client)?;

    let mut registry = Registry::default();
    let all = AllMetrics::register(&mut registry);
    let metrics = all.metrics;
    let observer = observer(policy, own.clone(), selection.clone(), &config, &mut registry);
    let outbox = Outbox::limited(config.limits.outcomes.clone());
    let (executor, deliverer) = writers(&config, &client, &namespace, &pod_name, &outbox, fail_with, &metrics)?;
    let mode = if observe_only { Mode::ObserveOnly } else { Mode::Enforce };
    let unfollowed = Unfollowed::new(client.clone(), observer.clone(), executor.clone(), mode, metrics.clone());
    let orphans = Orphans::new(client.clone(), observer.clone(), outbox.clone(), mode, metrics.clone());
    let enforcer = enforcer(Enforcer::new(observer.clone(), outbox.clone(), executor, mode), &config, &mut registry);
    let readiness = Readiness::new();
    let (certificate, watches) = (readiness.condition("certificate"), readiness.condition("watches"));
    serve_admin(admin, metrics_port, registry, readiness, shutdown.clone())?;

    let (identity, ca) = (ServerIdentity::new(), Arc::new(ArcSwapOption::empty()));
    let mut tasks = BackgroundTasks::default();
    tasks.follow_certificate(&client, &namespace, &identity, &ca, certificate);
    tasks.follow_cluster(&client, &namespace, &observer, &outbox, schedule, watches);
    tasks.beat(&namespace, &token_file, &ca, &observer);
    tasks.follow_configuration(configuration, all.config, &observer, &outbox, &enforcer, &deliverer);
    let keys = KeyRing::new();
    tasks.spawn(keys.clone().follow(client.clone()));

    let backfill = (!observe_only)
        .then(|| Backfill::new(client.clone(), own, selection, rules.current(), deliverer.routes(), all.backfill));
    tasks.spawn(rules.follow(all.rules));

    let settings = intake_settings(pod_uid, beat_interval);
    let agents = tasks.follow_agents(&client, agent_namespace);
    let tokens = Verifier::new(keys, Some(Reviewer::new(client.clone())));
    let intake = Intake::new(settings, observer.clone(), tokens, agents, ca, all.intake);
    let (listener, api_listeners) = bind(listen, api_addr, api_tls_addr)?;
    tracing::info!(%listen, %api_addr, ?api_tls_addr, namespace, pod = pod_name, observe_only, sinks = config.sinks.len(), "standing by");

    let controller = Controller {
        enforcer,
        deliverer,
        backfill,
        unfollowed,
        orphans,
        role: Role::new(client.clone(), &namespace, &pod_name),
        outcomes: Api::namespaced(client.clone(), &namespace),
        observer,
        outbox,
        retention: retention.retention(),
        metrics,
    };
    // The Lease is released after the work of the leader has ended, not before.
    let resign = Shutdown::manual();
    let callers = (Operators::new(client.clone(), &namespace), Access::new(client.clone(), all.api));
    let election = Election::start(client, &namespace, object::REAPER_LEASE, holder(&pod_name), lease, resign.clone());
    tasks.serve_api(api_listeners, &identity, &controller, callers, election.clone());
    let leading = async {
        let mut resigned = election.clone();
        Box::pin(controller.run(election, shutdown.clone())).await;
        resign.trigger();
        while resigned.changed().await.is_ok() {}
    };
    let server = Server::https(listener, identity.server_config(), connection_limits(limits), all.accept);
    // Concurrent: the leader hands over at once, while its connections drain.
    let serving = server.run_until(intake, shutdown.clone(), drain);
    tokio::select! {
        ((), ()) = async { tokio::join!(serving, leading) } => Ok(()),
        error = tasks.exited() => Err(error),
    }
}

/// The enforcer, as configured.
fn enforcer(enforcer: Enforcer, config: &Config, registry: &mut Registry) -> Arc<Enforcer> {
    enforcer.set_hold_for(config.breaker.hold_for);
    enforcer.set_log_rules(config.log_rules());
    let enforcer = Arc::new(enforcer);
    enforcer.register(registry);
    enforcer
}

/// The observer of everything but our own namespaces, as configured.
fn observer(
    policy: Policy,
    own: OwnNamespaces,
    selection: Selection,
    config: &Config,
    registry: &mut Registry,
) -> Observer {
    let observer = Observer::excluding(policy, own);
    observer.set_policy(config.policy.clone(), config.limits.policy.clone());
    observer.set_job_limits(config.limits.jobs.clone());
    observer.with(|index, now| index.set_selection(selection, now));
    observer.register(registry);
    observer
}

/// What records outcomes, and what delivers them.
fn writers(
    config: &Config,
    client: &Client,
    namespace: &str,
    pod_name: &str,
    outbox: &Outbox,
    fail_with: FailWith,
    metrics: &Metrics,
) -> Result<(Executor, Deliverer), SinkError> {
    let (client, outbox, metrics, routes) = (client.clone(), outbox.clone(), metrics.clone(), Routes::default());
    let executor = Executor::new(
        client.clone(),
        namespace,
        pod_name.to_owned(),
        outbox.clone(),
        routes.clone(),
        fail_with,
        metrics.clone(),
    );
    let events = executor.events().clone();
    let deliverer = Deliverer::new(config, routes, client, namespace, events, outbox, metrics)?;
    Ok((executor, deliverer))
}

/// The ports for probes and for metrics.
fn serve_admin(
    AdminArgs { admin_addr }: AdminArgs,
    metrics: MetricsArgs,
    registry: Registry,
    readiness: Readiness,
    shutdown: Shutdown,
) -> Result<(), RunError> {
    let probes = accept::Metrics::default();
    admin::serve(admin_addr, probes.clone(), readiness, shutdown)?;
    Ok(metrics.serve(registry, &probes)?)
}

/// Agents report as often as workers beat, within bounds.
fn intake_settings(own_pod: String, beat_interval: Duration) -> IntakeSettings {
    let report_interval = beat_interval.clamp(SHORTEST_REPORT_INTERVAL, LONGEST_REPORT_INTERVAL);
    IntakeSettings { own_pod: PodUid::from(own_pod), beat_interval, report_interval }
}

/// The ports of the API: on the loopback, and over TLS if there is one.
type ApiListeners = (TcpListener, Option<TcpListener>);

/// The port for beats and observations, and those of the API.
fn bind(
    beats: SocketAddr,
    api: SocketAddr,
    api_tls: Option<SocketAddr>,
) -> Result<(TcpListener, ApiListeners), RunError> {
    let bind_api = |address| accept::listen(address).map_err(|source| RunError::ListenApi(address, source));
    let beats = accept::listen(beats).map_err(|source| RunError::Listen(beats, source))?;
    Ok((beats, (bind_api(api)?, api_tls.map(bind_api).transpose()?)))
}

/// The limits of the port for beats, with what the flags change.
fn connection_limits(flags: LimitArgs) -> Limits {
    let defaults = Limits { source_connections: SOURCE_CONNECTIONS, ..Limits::default() };
    let max_connections = max_connections(flags.max_connections.unwrap_or(MAX_CONNECTIONS));
    Limits { max_connections, ..flags.apply(defaults) }
}

/// As many as are wanted, or fewer if the process may not have as many files open.
fn max_connections(wanted: usize) -> usize {
    let open_files = open_files::raise().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot raise the limit on open files");
        usize::MAX
    });
    let possible = open_files.saturating_sub(OTHER_FILES);
    if possible < wanted {
        tracing::warn!(
            open_files,
            possible,
            "the limit on open files is too low for all sidecars to connect; raise it in the container runtime"
        );
    }
    possible.min(wanted)
}

/// What the API shows of a controller that may lead.
fn api_over(
    controller: &Controller,
    (operators, access): (Operators, Access),
    tls: bool,
    leadership: watch::Receiver<Leadership>,
) -> api::Api {
    let Controller { observer, outbox, enforcer, deliverer, .. } = controller;
    let (enforcer, operators, access) = (Arc::clone(enforcer), Arc::new(operators), Arc::new(access));
    let (observer, outbox, lists) = (observer.clone(), outbox.clone(), Arc::new(Semaphore::new(1)));
    let deliverer = deliverer.clone();
    api::Api { observer, outbox, deliverer, enforcer, access, tls, lists, operators, leadership }
}

/// The metrics of each room.
struct AllMetrics {
    metrics: Metrics,
    intake: intake::metrics::Metrics,
    accept: accept::Metrics,
    backfill: backfill::Metrics,
    api: api::Metrics,
    config: reload::Metrics,
    rules: reload::Metrics,
}

impl AllMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Metrics::register(registry);
        let (intake, accept) = (intake::metrics::Metrics::default(), accept::Metrics::default());
        intake.register(registry);
        accept.register(registry);
        let backfill = backfill::Metrics::default();
        backfill.register(registry);
        let api = api::Metrics::register(registry);
        let config = reload::Metrics::register(registry, reload::CONFIG);
        let rules = reload::Metrics::register(registry, reload::IDENTITY_CONFIG);
        Self { metrics, intake, accept, backfill, api, config, rules }
    }
}

/// What this process calls itself in the Lease: a container that restarts in the pod is another holder.
fn holder(pod_name: &str) -> String {
    format!("{pod_name}_{:08x}", fastrand::u32(..))
}

/// Tasks that run from start to shutdown, whether this process leads or not. They end when this is dropped.
#[derive(Default)]
struct BackgroundTasks(JoinSet<()>);

impl BackgroundTasks {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    fn follow_certificate(
        &mut self,
        client: &Client,
        namespace: &str,
        identity: &ServerIdentity,
        ca: &Arc<ArcSwapOption<String>>,
        gate: Gate,
    ) {
        let (client, namespace) = (client.clone(), namespace.to_owned());
        let (identity, ca) = (identity.clone(), Arc::clone(ca));
        self.spawn(async move {
            let loaded = |bundle| {
                ca.store(Some(Arc::new(bundle)));
                gate.ready();
            };
            // The drain needs certificates as well, so this task gets a shutdown that is never requested.
            let never = Shutdown::manual();
            follow_tls_secret(client, &namespace, object::REAPER_TLS_SECRET, identity, loaded, never).await;
        });
    }

    fn follow_cluster(
        &mut self,
        client: &Client,
        namespace: &str,
        observer: &Observer,
        outbox: &Outbox,
        schedule: Schedule,
        gate: Gate,
    ) {
        self.spawn(cluster::follow(client.clone(), observer.clone(), schedule));
        let (following, client, namespace) = (outbox.clone(), client.clone(), namespace.to_owned());
        let mut inconsistencies = observer.inconsistencies();
        self.spawn(async move {
            loop {
                tokio::select! {
                    () = following.follow(client.clone(), &namespace, Shutdown::manual()) => {}
                    _ = inconsistencies.changed() => following.forget_versions(),
                }
            }
        });
        let (observer, outbox) = (observer.clone(), outbox.clone());
        self.spawn(async move {
            while !(observer.synced() && outbox.synced()) {
                sleep(SYNC_EVERY).await;
            }
            gate.ready();
            std::future::pending::<Infallible>().await;
        });
    }

    fn follow_agents(&mut self, client: &Client, namespace: String) -> Agents {
        let agents = Agents::new(namespace);
        self.spawn(agents.clone().follow(client.clone()));
        agents
    }

    fn beat(&mut self, namespace: &str, token_file: &Path, ca: &Arc<ArcSwapOption<String>>, observer: &Observer) {
        let server_name = format!("{}.{namespace}.svc", object::REAPER_SERVICE);
        let beat = SelfBeat {
            address: format!("{server_name}:{}", port::REAPER),
            server_name,
            token_file: token_file.to_owned(),
            ca: Arc::clone(ca),
        };
        self.spawn(beat.run(observer.clone()));
    }

    /// Changes of the configuration file take effect without a restart.
    fn follow_configuration(
        &mut self,
        configuration: Followed,
        metrics: reload::Metrics,
        observer: &Observer,
        outbox: &Outbox,
        enforcer: &Arc<Enforcer>,
        deliverer: &Deliverer,
    ) {
        let (observer, outbox, enforcer) = (observer.clone(), outbox.clone(), Arc::clone(enforcer));
        let deliverer = deliverer.clone();
        self.spawn(configuration.follow(metrics, move |config| {
            if let Err(error) = deliverer.replace(&config) {
                let error = with_causes(&error);
                tracing::error!(error, "cannot set up the changed sinks; the previous ones stay in effect");
            }
            enforcer.set_log_rules(config.log_rules());
            observer.set_policy(config.policy, config.limits.policy);
            observer.set_job_limits(config.limits.jobs);
            outbox.set_limits(config.limits.outcomes);
            enforcer.set_hold_for(config.breaker.hold_for);
        }));
    }

    fn serve_api(
        &mut self,
        (listener, tls): ApiListeners,
        identity: &ServerIdentity,
        controller: &Controller,
        callers: (Operators, Access),
        leadership: watch::Receiver<Leadership>,
    ) {
        let api = api_over(controller, callers, tls.is_some(), leadership);
        self.spawn(api::serve(listener, api.clone()));
        if let Some(listener) = tls {
            self.spawn(api::serve_tls(listener, identity.clone(), api));
        }
    }

    /// Returns when one of the tasks has returned, which none should.
    async fn exited(&mut self) -> RunError {
        RunError::TaskExited(self.0.join_next().await.and_then(Result::err))
    }
}
