//! The configuration file while it changes: a good one applies to the next request, a broken one is refused and the old one
//! stays.

use std::{io, path::PathBuf, sync::Arc};

use jobwarden_common::names::{FIELD_MANAGER, object};
use jobwarden_inject::{
    config::{Config, ConfigError},
    patch::Settings,
};
use jobwarden_serve::{file::File, logs::with_causes, shutdown::Shutdown};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::sync::watch;

use crate::settings::SettingsArgs;

/// Why a configuration file does not apply.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read the configuration file {}; --config names it", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not say what it should.
    #[error("the configuration file {} is not understood", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        source: ConfigError,
    },
}

/// The configuration of a process that serves.
pub(crate) struct Configuration {
    args: SettingsArgs,
    /// The file's text when it was read last; `None` without a file.
    text: Option<String>,
}

/// Figures of changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    reloads: Family<[(&'static str, &'static str); 1], Counter>,
    last_successful: Gauge,
}

impl Metrics {
    /// Figures that `registry` shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { reloads, last_successful } = &metrics;
        // What it starts with is in order, or it would not have started.
        last_successful.set(1);
        for result in ["applied", "rejected"] {
            // So that an alert on an increase sees the first one, too.
            drop(reloads.get_or_create(&[("result", result)]));
        }
        registry.register("jobwarden_config_reloads", "Changes of the configuration file by result", reloads.clone());
        registry.register(
            "jobwarden_config_last_reload_successful",
            "1 while the configuration file is the one that applies, 0 while a broken one is refused",
            last_successful.clone(),
        );
        metrics
    }

    fn count(&self, successful: bool) {
        let result = if successful { "applied" } else { "rejected" };
        self.reloads.get_or_create(&[("result", result)]).inc();
        self.last_successful.set(successful.into());
    }
}

impl Configuration {
    /// Reads what the flags say and the file that they name.
    pub(crate) fn load(args: SettingsArgs) -> Result<(Self, Settings), LoadError> {
        let Some(path) = &args.config else {
            let settings = args.settings(Config::default());
            return Ok((Self { args, text: None }, settings));
        };
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|source| LoadError::Read { path: path.clone(), source })?;
        let settings = parse(&args, path.clone(), &text)?;
        Ok((Self { args, text: Some(text) }, settings))
    }

    /// Applies each change of the file to `settings`, and tells of it, until shutdown.
    pub(crate) async fn follow(
        self,
        settings: watch::Sender<Arc<Settings>>,
        metrics: Metrics,
        herald: Herald,
        shutdown: Shutdown,
    ) {
        let Self { args, text } = self;
        let (Some(path), Some(text)) = (args.config.clone(), text) else { return shutdown.requested().await };
        let mut file = File::new(path.clone(), text);
        loop {
            let read = tokio::select! {
                () = shutdown.requested() => return,
                read = file.changed() => read,
            };
            let read = read.map_err(|source| LoadError::Read { path: path.clone(), source });
            let change = read.and_then(|text| parse(&args, path.clone(), &text));
            metrics.count(change.is_ok());
            match change {
                Ok(new) => {
                    tracing::info!(path = %path.display(), "the configuration has changed and applies from now on");
                    settings.send_replace(Arc::new(new));
                    herald.tell(EventType::Normal, "ConfigReloaded", "The new configuration applies.".to_owned()).await;
                }
                Err(error) => {
                    let causes = with_causes(&error);
                    tracing::error!(error = causes, "the new configuration is refused; the old one still applies");
                    let note = format!("The old configuration still applies: {causes}");
                    herald.tell(EventType::Warning, "ConfigRejected", note).await;
                }
            }
        }
    }
}

fn parse(args: &SettingsArgs, path: PathBuf, text: &str) -> Result<Settings, LoadError> {
    let config = Config::parse(text).map_err(|source| LoadError::Parse { path, source })?;
    Ok(args.settings(config))
}

/// Who writes Events on the `ConfigMap` that the file comes from.
pub(crate) struct Herald {
    recorder: Recorder,
    regarding: ObjectReference,
}

impl Herald {
    /// The longest note that the API server takes, in bytes (`NoteLengthLimit` of its validation of Events).
    const NOTE_BYTES: usize = 1024;

    /// Of the installation in `namespace`.
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        let reporter = Reporter {
            controller: [FIELD_MANAGER, "webhook"].join("-"),
            instance: std::env::var("HOSTNAME").ok(), // the pod's name
        };
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("ConfigMap".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(object::CONFIG.to_owned()),
            ..ObjectReference::default()
        };
        Self { recorder: Recorder::new(client, reporter), regarding }
    }

    async fn tell(&self, type_: EventType, reason: &str, mut note: String) {
        note.truncate(note.floor_char_boundary(Self::NOTE_BYTES));
        let event =
            Event { type_, reason: reason.to_owned(), note: Some(note), action: "Reload".to_owned(), secondary: None };
        if let Err(error) = self.recorder.publish(&event, &self.regarding).await {
            // Log and metric have said it already.
            tracing::warn!(%error, reason, "cannot write an Event");
        }
    }
}

#[cfg(test)]
mod tests;
