//! The flags of admission. With the configuration file they make up the [`Settings`].

use std::{io, path::PathBuf, time::Duration};

use clap::Args;
use jobwarden_inject::{
    config::{Config, ConfigError},
    identity::Rules,
    patch::{
        Settings,
        on_failure::OnFailure,
        quantity::Quantity,
        sidecar::{PullPolicy, Sidecar, parse_memory},
    },
};

/// The name of this version's image in the project's own build.
const SIDECAR_IMAGE: &str = concat!("jobwarden.io/jobwarden-sidecar:", env!("CARGO_PKG_VERSION"));

/// Why the configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read the configuration file {} (--config)", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// It is not valid.
    #[error("invalid configuration file {}", path.display())]
    Parse {
        /// Path of the file.
        path: PathBuf,
        /// What is invalid, and where.
        source: ConfigError,
    },
}

/// The flags of admission.
#[derive(Args, Clone, Debug)]
pub struct SettingsArgs {
    /// YAML file with the rules that find the IDs of runs and jobs, such as
    /// "identity: { preset: ort-server, runId: [ { label: example.com/run } ] }"; without it only the labels
    /// jobwarden.io/run-id and jobwarden.io/job-id are used
    #[arg(long, env = "JOBWARDEN_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Image of the sidecar
    #[arg(long, env = "JOBWARDEN_SIDECAR_IMAGE", default_value = SIDECAR_IMAGE, value_name = "IMAGE")]
    sidecar_image: String,

    /// Pull policy of the sidecar's image
    #[arg(long, env = "JOBWARDEN_SIDECAR_PULL_POLICY", default_value = "IfNotPresent", value_name = "POLICY")]
    sidecar_pull_policy: PullPolicy,

    /// Secret to pull the sidecar's image with; it must exist in every enrolled namespace. May be repeated
    #[arg(long, env = "JOBWARDEN_IMAGE_PULL_SECRET", value_delimiter = ',', value_name = "SECRET")]
    image_pull_secret: Vec<String>,

    /// Interval between the heartbeats of a sidecar
    #[arg(long, env = "JOBWARDEN_BEAT_INTERVAL", default_value = "10s", value_parser = parse_interval, value_name = "DURATION")]
    beat_interval: Duration,

    /// CPU request and limit of the sidecar, unless the annotation jobwarden.io/sidecar-cpu overrides it
    #[arg(long, env = "JOBWARDEN_SIDECAR_CPU", default_value = "10m", value_name = "QUANTITY")]
    sidecar_cpu: Quantity,

    /// Memory request and limit of the sidecar, unless the annotation jobwarden.io/sidecar-memory overrides it
    #[arg(long, env = "JOBWARDEN_SIDECAR_MEMORY", default_value = "16Mi", value_parser = parse_memory, value_name = "QUANTITY")]
    sidecar_memory: Quantity,

    /// How long worker pods tolerate a node that is unreachable or not ready, so that jobwarden rather than the taint manager
    /// decides about them; 0s leaves their tolerations unchanged
    #[arg(long, env = "JOBWARDEN_UNREACHABLE_GRACE", default_value = "1h", value_parser = humantime::parse_duration, value_name = "DURATION")]
    unreachable_grace: Duration,

    /// What watches the pods of Jobs with restartPolicy `OnFailure`, where each restart of the sidecar uses up a retry: sidecar,
    /// agent (the node agent alone), or auto (the sidecar from three retries on); the annotation jobwarden.io/on-failure overrides it
    #[arg(long, env = "JOBWARDEN_ON_FAILURE", default_value = "auto", value_name = "auto|sidecar|agent")]
    on_failure: OnFailure,

    /// Add a finalizer to Jobs, which the reaper removes once it has recorded the outcome; for installations with a sink
    #[arg(
        long, env = "JOBWARDEN_FINALIZER", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_name = "true|false", hide_possible_values = true
    )]
    pub(crate) finalizer: bool,
}

impl SettingsArgs {
    /// Reads the configuration file, if one is set, and combines it with the flags.
    pub fn load(&self) -> Result<Settings, LoadError> {
        let Some(path) = &self.config else { return Ok(self.settings(Config::default())) };
        let text = std::fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
        self.parse(path.clone(), &text)
    }

    /// Combines the flags with the text of the configuration file at `path`.
    pub(crate) fn parse(&self, path: PathBuf, text: &str) -> Result<Settings, LoadError> {
        let config = Config::parse(text).map_err(|source| LoadError::Parse { path, source })?;
        Ok(self.settings(config))
    }

    /// Combines the flags with a configuration.
    pub fn settings(&self, config: Config) -> Settings {
        let Self {
            config: _,
            sidecar_image,
            sidecar_pull_policy,
            image_pull_secret,
            beat_interval,
            sidecar_cpu,
            sidecar_memory,
            unreachable_grace,
            on_failure,
            finalizer,
        } = self;
        let Config { identity, sidecar } = config;
        Settings {
            rules: Rules::new(identity),
            finalizer: *finalizer,
            unreachable_grace: *unreachable_grace,
            on_failure: *on_failure,
            sidecar: Sidecar {
                image: sidecar_image.clone(),
                pull_policy: *sidecar_pull_policy,
                image_pull_secrets: image_pull_secret.clone(),
                cpu: sidecar_cpu.clone(),
                memory: sidecar_memory.clone(),
                namespaces: sidecar.namespaces,
                limits: sidecar.limits,
                beat_interval: *beat_interval,
            },
        }
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_millis(100) {
        return Err("must be at least 100ms: more frequent heartbeats overload the reaper".to_owned());
    }
    Ok(interval)
}
