//! The command line, and what it sets in motion.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Parser, Subcommand};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use jobwarden_common::names::port;
use jobwarden_inject::{
    config::{Config, ConfigError},
    identity::Rules,
    patch::{
        Settings,
        quantity::Quantity,
        sidecar::{LEAST_MEMORY, PullPolicy, Sidecar},
    },
};
use jobwarden_serve::{
    accept::{self, Limits, serve_https},
    admin::{self, AdminArgs, AdminError, Readiness},
    logs::{LogArgs, LogError},
    shutdown::{Shutdown, ShutdownArgs, SignalError},
    tls::ServerIdentity,
};
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    admission::{self, Admission},
    certificates::Keeper,
};

/// Labels Jobs with the IDs of their run and job, and gives their pods the heartbeat sidecar
#[derive(Parser, Debug)]
#[command(name = "jobwarden-webhook", version)]
pub struct WebhookArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(Box<ServeArgs>),
}

/// Answer the API server's admission requests
///
/// Makes its own certificates, keeps them in Secrets of its namespace, and writes the authority into every caBundle of the
/// mutating webhook configuration "jobwarden".
#[derive(Args, Debug)]
struct ServeArgs {
    /// Where to answer admission requests over HTTPS
    #[arg(long, env = "JOBWARDEN_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], port::WEBHOOK)), value_name = "IP:PORT")]
    listen: SocketAddr,

    /// YAML file that says where the IDs of runs and jobs are found, such as
    /// "identity: { preset: ort-server, runId: [ { label: example.com/run } ] }"; without it only the labels
    /// jobwarden.io/run-id and jobwarden.io/job-id count
    #[arg(long, env = "JOBWARDEN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// The namespace that jobwarden is installed in
    #[arg(long, env = "JOBWARDEN_NAMESPACE", value_name = "NAME")]
    namespace: String,

    /// Image of the sidecar
    #[arg(long, env = "JOBWARDEN_SIDECAR_IMAGE", value_name = "IMAGE")]
    sidecar_image: String,

    /// When a node pulls the sidecar's image
    #[arg(long, env = "JOBWARDEN_SIDECAR_PULL_POLICY", default_value = "IfNotPresent", value_name = "POLICY")]
    sidecar_pull_policy: PullPolicy,

    /// Secret to pull the sidecar's image with; it must exist in every enrolled namespace. May be given several times
    #[arg(long, env = "JOBWARDEN_IMAGE_PULL_SECRET", value_delimiter = ',', value_name = "SECRET")]
    image_pull_secret: Vec<String>,

    /// Time between two beats of a sidecar
    #[arg(long, env = "JOBWARDEN_BEAT_INTERVAL", default_value = "10s", value_parser = parse_interval, value_name = "DURATION")]
    beat_interval: Duration,

    /// CPU request and limit of the sidecar, unless the annotation jobwarden.io/sidecar-cpu says otherwise
    #[arg(long, env = "JOBWARDEN_SIDECAR_CPU", default_value = "10m", value_name = "QUANTITY")]
    sidecar_cpu: Quantity,

    /// Memory request and limit of the sidecar, unless the annotation jobwarden.io/sidecar-memory says otherwise
    #[arg(long, env = "JOBWARDEN_SIDECAR_MEMORY", default_value = "16Mi", value_parser = parse_memory, value_name = "QUANTITY")]
    sidecar_memory: Quantity,

    /// How long worker pods tolerate an unreachable node, so that jobwarden and not the taint manager decides over them;
    /// 0s leaves their tolerations alone
    #[arg(long, env = "JOBWARDEN_UNREACHABLE_GRACE", default_value = "1h", value_parser = humantime::parse_duration, value_name = "DURATION")]
    unreachable_grace: Duration,

    /// Hold Jobs with a finalizer until the reaper has recorded their outcome; for installations with a sink
    #[arg(
        long, env = "JOBWARDEN_FINALIZER", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_name = "true|false", hide_possible_values = true
    )]
    finalizer: bool,

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
    Config(#[from] ConfigError),
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

impl WebhookArgs {
    /// Does what the command line says.
    pub async fn run(self) -> Result<(), RunError> {
        let Self { command } = self;
        match command {
            Command::Serve(args) => args.run().await,
        }
    }
}

impl ServeArgs {
    async fn run(self) -> Result<(), RunError> {
        let Self {
            listen,
            config,
            namespace,
            sidecar_image,
            sidecar_pull_policy,
            image_pull_secret,
            beat_interval,
            sidecar_cpu,
            sidecar_memory,
            unreachable_grace,
            finalizer,
            admin,
            logs,
            shutdown: drain,
        } = self;
        logs.init()?;
        let config = config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        let settings = Settings {
            rules: Rules::new(config.identity),
            finalizer,
            unreachable_grace,
            sidecar: Sidecar {
                image: sidecar_image,
                pull_policy: sidecar_pull_policy,
                image_pull_secrets: image_pull_secret,
                cpu: sidecar_cpu,
                memory: sidecar_memory,
                beat_interval,
            },
        };

        let mut registry = Registry::default();
        let admissions = admission::Metrics::register(&mut registry);
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
        let admission = Admission::new(settings, reaper, admissions, limits.max_body);
        let listener = TcpListener::bind(listen).await.map_err(|source| RunError::Listen(listen, source))?;
        tracing::info!(%listen, namespace, "answering admission requests");

        let keeper = Keeper::new(client, namespace, identity.clone(), endpoint, gate);
        let keeping = tokio::spawn(keeper.run(shutdown.clone()));
        let service = service_fn(move |request: Request<Incoming>| {
            let admission = admission.clone();
            async move { Ok::<_, Infallible>(admission.respond(request).await) }
        });
        serve_https(listener, identity.server_config(), limits, service, shutdown, drain, connections).await;
        // It may be in the midst of a call, which can be cut off anywhere.
        keeping.abort();
        Ok(())
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_millis(100) {
        return Err("beats more often than every 100ms would be a burden to the reaper".to_owned());
    }
    Ok(interval)
}

fn parse_memory(text: &str) -> Result<Quantity, String> {
    let memory: Quantity =
        text.parse().map_err(|error: jobwarden_inject::patch::quantity::QuantityError| error.to_string())?;
    if memory.value() < LEAST_MEMORY {
        return Err("runtimes take no less than 12Mi".to_owned());
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use rstest::rstest;

    use super::*;

    const REQUIRED: [&str; 4] = ["jobwarden-webhook", "serve", "--namespace=jobwarden", "--sidecar-image=i"];

    fn parse(more: &[&str]) -> Result<ServeArgs, clap::Error> {
        let WebhookArgs { command: Command::Serve(args) } =
            WebhookArgs::try_parse_from(REQUIRED.iter().chain(more).copied())?;
        Ok(*args)
    }

    #[test]
    fn the_command_line_is_sound() {
        WebhookArgs::command().debug_assert();
    }

    #[rstest]
    #[case(&[], false)]
    #[case(&["--finalizer"], true)]
    #[case(&["--finalizer=true"], true)]
    #[case(&["--finalizer=false"], false)]
    fn the_finalizer_is_a_choice(#[case] more: &[&str], #[case] expected: bool) {
        assert_eq!(parse(more).expect("good flags").finalizer, expected);
    }

    #[rstest]
    #[case("--sidecar-memory=8Mi")]
    #[case("--sidecar-cpu=fast")]
    #[case("--beat-interval=1ms")]
    #[case("--unreachable-grace=hour")]
    #[case("--sidecar-pull-policy=sometimes")]
    fn a_bad_value_is_refused_by_its_flag(#[case] flag: &str) {
        let error = parse(&[flag]).expect_err("a bad value").to_string();
        let name = flag.split_once('=').expect("a flag with a value").0;
        assert!(error.contains(name), "{error}");
    }
}
