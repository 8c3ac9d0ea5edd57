//! Reload of the configuration file: a valid file applies to the next request, an invalid one is rejected and the old
//! configuration stays in effect.

use std::sync::Arc;

use jobwarden_common::names::{FIELD_MANAGER, object};
use jobwarden_inject::patch::Settings;
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

use crate::settings::{LoadError, SettingsArgs};

/// The configuration of a running webhook.
pub(crate) struct Configuration {
    args: SettingsArgs,
    /// The text of the file at the last read; `None` without a file.
    text: Option<String>,
}

/// Metrics of reloads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    reloads: Family<[(&'static str, &'static str); 1], Counter>,
    last_successful: Gauge,
}

impl Metrics {
    /// Metrics that `registry` exposes.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { reloads, last_successful } = &metrics;
        // An invalid configuration prevents the start.
        last_successful.set(1);
        for result in ["applied", "rejected"] {
            // Initialized, so that an alert on an increase fires on the first reload, too.
            drop(reloads.get_or_create(&[("result", result)]));
        }
        registry.register("jobwarden_config_reloads", "Reloads of the configuration file by result", reloads.clone());
        registry.register(
            "jobwarden_config_last_reload_successful",
            "1 if the last reload of the configuration file succeeded, 0 if the file was rejected",
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
    /// Reads the configuration file, if one is set.
    pub(crate) fn load(args: SettingsArgs) -> Result<(Self, Settings), LoadError> {
        let Some(path) = &args.config else {
            let settings = args.load()?;
            return Ok((Self { args, text: None }, settings));
        };
        let text = std::fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
        let settings = args.parse(path.clone(), &text)?;
        Ok((Self { args, text: Some(text) }, settings))
    }

    /// Applies each change of the file to `settings`, with an Event, until shutdown.
    pub(crate) async fn follow(
        self,
        settings: watch::Sender<Arc<Settings>>,
        metrics: Metrics,
        events: EventRecorder,
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
            let change = read.and_then(|text| args.parse(path.clone(), &text));
            metrics.count(change.is_ok());
            match change {
                Ok(new) => {
                    tracing::info!(path = %path.display(), "configuration reloaded");
                    settings.send_replace(Arc::new(new));
                    events
                        .record(EventType::Normal, "ConfigReloaded", "The new configuration is in effect.".to_owned())
                        .await;
                }
                Err(error) => {
                    let causes = with_causes(&error);
                    tracing::error!(error = causes, "configuration rejected, the old one stays in effect");
                    let note = format!("The old configuration stays in effect: {causes}");
                    events.record(EventType::Warning, "ConfigRejected", note).await;
                }
            }
        }
    }
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
