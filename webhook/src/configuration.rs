//! Reload of the configuration file: a valid file applies to the next request, an invalid one is rejected and the old
//! configuration stays in effect.

use std::{io, path::Path, sync::Arc};

use jobwarden_common::names::{FIELD_MANAGER, object};
use jobwarden_inject::patch::Settings;
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

use crate::settings::{LoadError, SettingsArgs};

/// The configuration of a running webhook; it changes only where a file is configured.
pub(crate) struct Configuration(Option<ConfigFile<Settings, LoadError>>);

impl Configuration {
    /// Reads the configuration file, if one is set.
    pub(crate) fn load(args: SettingsArgs) -> Result<(Self, Settings), LoadError> {
        let Some(path) = args.config.clone() else {
            let settings = args.load()?;
            return Ok((Self(None), settings));
        };
        let (file, settings) = ConfigFile::load(path.clone(), move |text| parse(&args, &path, text))?;
        Ok((Self(Some(file)), settings))
    }

    /// Applies each valid change of the file to `settings`, with an Event about each change, until shutdown.
    pub(crate) async fn follow(
        self,
        settings: watch::Sender<Arc<Settings>>,
        metrics: Metrics,
        events: EventRecorder,
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
                    events
                        .record(EventType::Normal, "ConfigReloaded", "The new configuration is in effect.".to_owned())
                        .await;
                }
                Err(error) => {
                    let note = format!("The old configuration stays in effect: {}", with_causes(&error));
                    events.record(EventType::Warning, "ConfigRejected", note).await;
                }
            }
        }
    }
}

fn parse(args: &SettingsArgs, path: &Path, text: io::Result<String>) -> Result<Settings, LoadError> {
    let text = text.map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    args.parse(path.to_owned(), &text)
}

/// Records Events on the `ConfigMap` of the configuration file.
pub(crate) struct EventRecorder {
    recorder: Recorder,
    regarding: ObjectReference,
}

impl EventRecorder {
    /// The longest note that the API server accepts, in bytes (`NoteLengthLimit` of its validation of Events).
    const NOTE_BYTES: usize = 1024;

    /// For the installation in `namespace`.
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

    async fn record(&self, type_: EventType, reason: &str, mut note: String) {
        note.truncate(note.floor_char_boundary(Self::NOTE_BYTES));
        let event =
            Event { type_, reason: reason.to_owned(), note: Some(note), action: "Reload".to_owned(), secondary: None };
        if let Err(error) = self.recorder.publish(&event, &self.regarding).await {
            // The log and the metric have the same information.
            tracing::warn!(%error, reason, "cannot record an Event");
        }
    }
}

#[cfg(test)]
mod tests;
