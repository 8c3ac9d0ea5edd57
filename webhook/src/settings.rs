//! The flags that say what admission does; [`Settings`] come of them and of the configuration file.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use jobwarden_inject::{
    config::Config,
    identity::Rules,
    patch::{
        Settings,
        quantity::Quantity,
        sidecar::{PullPolicy, Sidecar, parse_memory},
    },
};

/// What the project's own build names the image of this version.
const SIDECAR_IMAGE: &str = concat!("jobwarden.io/jobwarden-sidecar:", env!("CARGO_PKG_VERSION"));

/// What admission does, as far as flags say it.
#[derive(Args, Clone, Debug)]
pub(crate) struct SettingsArgs {
    /// YAML file that says where the IDs of runs and jobs are found, such as
    /// "identity: { preset: ort-server, runId: [ { label: example.com/run } ] }"; without it only the labels
    /// jobwarden.io/run-id and jobwarden.io/job-id count
    #[arg(long, env = "JOBWARDEN_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Image of the sidecar
    #[arg(long, env = "JOBWARDEN_SIDECAR_IMAGE", default_value = SIDECAR_IMAGE, value_name = "IMAGE")]
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
    pub(crate) finalizer: bool,
}

impl SettingsArgs {
    /// Joins the flags with a configuration.
    pub(crate) fn settings(&self, config: Config) -> Settings {
        let Self {
            config: _,
            sidecar_image,
            sidecar_pull_policy,
            image_pull_secret,
            beat_interval,
            sidecar_cpu,
            sidecar_memory,
            unreachable_grace,
            finalizer,
        } = self;
        let Config { identity, sidecar } = config;
        Settings {
            rules: Rules::new(identity),
            finalizer: *finalizer,
            unreachable_grace: *unreachable_grace,
            sidecar: Sidecar {
                image: sidecar_image.clone(),
                pull_policy: *sidecar_pull_policy,
                image_pull_secrets: image_pull_secret.clone(),
                cpu: sidecar_cpu.clone(),
                memory: sidecar_memory.clone(),
                namespaces: sidecar.namespaces,
                beat_interval: *beat_interval,
            },
        }
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_millis(100) {
        return Err("beats more often than every 100ms would be a burden to the reaper".to_owned());
    }
    Ok(interval)
}
