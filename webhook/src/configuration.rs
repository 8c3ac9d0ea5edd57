//! The configuration file while it changes: a good one applies to the next request, a broken one is refused and the old one
//! stays.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jobwarden_common::names::{FIELD_MANAGER, object};
use jobwarden_inject::{
    config::{Config, ConfigError},
    patch::Settings,
};
use jobwarden_serve::{
    logs::with_causes,
    reload::{ConfigFile, Metrics},
    shutdown::Shutdown,
};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
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

/// The configuration of a process that serves; it changes only where a file is configured.
pub(crate) struct Configuration(Option<ConfigFile<Settings, LoadError>>);

impl Configuration {
    /// Reads what the flags say and the file that they name.
    pub(crate) fn load(args: SettingsArgs) -> Result<(Self, Settings), LoadError> {
        let Some(path) = args.config.clone() else {
            return Ok((Self(None), args.settings(Config::default())));
        };
        let (file, settings) = ConfigFile::load(path.clone(), move |text| parse(&args, &path, text))?;
        Ok((Self(Some(file)), settings))
    }

    /// Applies each valid change of the file to `settings` and writes an Event about each change, until shutdown.
    pub(crate) async fn follow(
        self,
        settings: watch::Sender<Arc<Settings>>,
        metrics: Metrics,
        herald: Herald,
        shutdown: Shutdown,
    ) {
        let Some(mut file) = self.0 else { return shutdown.requested().await };
        loop {
            let change = tokio::select! {
                () = shutdown.requested() => return,
                change = file.changed(&metrics) => change,
            };
            match change {
                Ok(new) => {
                    settings.send_replace(Arc::new(new));
                    herald.tell(EventType::Normal, "ConfigReloaded", "The new configuration applies.".to_owned()).await;
                }
                Err(error) => {
                    let note = format!("The old configuration still applies: {}", with_causes(&error));
                    herald.tell(EventType::Warning, "ConfigRejected", note).await;
                }
            }
        }
    }
}

fn parse(args: &SettingsArgs, path: &Path, text: io::Result<String>) -> Result<Settings, LoadError> {
    let text = text.map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let config = Config::parse(&text).map_err(|source| LoadError::Parse { path: path.to_owned(), source })?;
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
