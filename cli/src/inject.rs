//! `jobwarden inject`: what admission changes in objects, computed without a cluster.

use std::path::PathBuf;

use clap::Args;
use jobwarden_common::names::endpoint_key;
use jobwarden_inject::{
    endpoint::Endpoint,
    identity::{Explanation, rule::Subject},
    patch::{self, Effect, Mutation, Settings, Skip},
    view::{Job, Pod},
};
use jobwarden_webhook::settings::{LoadError, SettingsArgs};
use serde_json::Value;

use crate::{
    objects::{FileArgs, ObjectsError, documents::Name, kind::Kind, read},
    output::{self, OutputError},
};

/// A documentation address (RFC 5737), used if the reaper's is not given.
const PLACEHOLDER_ADDRESS: &str = "192.0.2.1:8444";

/// Print Jobs and pods as admission changes them, without a cluster
///
/// Runs the code of the admission webhook on the objects in files, as if their namespace were enrolled. Other objects, and those
/// that admission leaves unchanged, are printed as they are. Warnings and reasons go to standard error.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  Show a Job after admission:
    {prog} inject -f job.yaml
  Show which rule finds each ID, with the rules of a configuration file:
    {prog} inject -f job.yaml --config config.yaml --explain
  Show a pod with the sidecar of a real cluster:
    kubectl -n jobwarden get configmap jobwarden-reaper-endpoint -o yaml > endpoint.yaml
    {prog} inject -f pod.yaml --endpoint endpoint.yaml")]
pub(crate) struct InjectArgs {
    #[command(flatten)]
    files: FileArgs,

    /// Namespace of objects that do not name one
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    namespace: String,

    /// Show which rule finds each ID, instead of printing the objects
    #[arg(long)]
    explain: bool,

    /// File with the `ConfigMap` jobwarden-reaper-endpoint, as kubectl prints it: the reaper's address and CA for the sidecar
    #[arg(long, value_name = "FILE")]
    endpoint: Option<PathBuf>,

    #[command(flatten, next_help_heading = "Admission")]
    settings: SettingsArgs,
}

/// Why nothing was injected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InjectError {
    /// The objects.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The file with the reaper's endpoint.
    #[error("{} is not the ConfigMap jobwarden-reaper-endpoint: data.{key} is missing", path.display())]
    Endpoint { path: PathBuf, key: &'static str },
    /// Standard output.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Applies admission to objects.
#[derive(Debug)]
struct Injector {
    settings: Settings,
    reaper: Endpoint,
    /// The namespace of objects that do not name one.
    namespace: String,
}

impl InjectArgs {
    /// Reads, injects and prints.
    pub(crate) fn run(self) -> Result<(), InjectError> {
        let Self { files, namespace, explain, endpoint, settings } = self;
        let settings = settings.load()?;
        let placeholder = endpoint.is_none();
        let reaper = endpoint.map_or_else(|| Ok(placeholder_endpoint()), |path| endpoint_of(&path))?;
        let injector = Injector { settings, reaper, namespace };
        let mut objects = files.read()?;
        if explain {
            let mut text = String::new();
            objects.change(|kind, object| {
                if let Some(explanation) = injector.explain(kind, object)? {
                    text.extend([format!("{}\n", Name(kind, object)), explanation.to_string()]);
                }
                Ok(())
            })?;
            return Ok(output::print(&text)?);
        }
        let mut injected = false;
        objects.change(|kind, object| {
            let mutation = injector.inject(kind, object)?;
            let note = |text: &str| output::message(&format!("{}: {text}", Name(kind, object)));
            for warning in &mutation.warnings {
                note(&format!("warning: {warning}"));
            }
            match mutation.effect {
                Effect::Skipped(skip) if mutation.operations.is_empty() => {
                    note(&format!("unchanged: {}", reason(skip)));
                }
                Effect::Skipped(skip) => note(&format!("left alone: {}", reason(skip))),
                effect => injected |= effect == Effect::Injected,
            }
            if object["kind"] == "CronJob" {
                note("admission changes the Jobs that it creates, not the CronJob itself");
            }
            Ok(())
        })?;
        if injected && placeholder {
            output::message(&format!(
                "warning: without --endpoint the sidecar has the placeholder address {PLACEHOLDER_ADDRESS} and no CA"
            ));
        }
        Ok(objects.print()?)
    }
}

impl Injector {
    /// Changes `object` as admission does; the error is the message of a denial.
    fn inject(&self, kind: Kind, object: &mut Value) -> Result<Mutation, String> {
        let Self { settings, reaper, namespace } = self;
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
        let text = object.to_string();
        let mutation = match kind {
            Kind::Other => return Ok(Mutation::skip(Skip::OtherResource)),
            Kind::Job => {
                let job: Job<'_> = serde_json::from_str(&text).map_err(unreadable)?;
                patch::job::admit(&job, namespace, settings, None)
            }
            Kind::Pod => {
                let pod: Pod<'_> = serde_json::from_str(&text).map_err(unreadable)?;
                patch::pod::admit(&pod, namespace, settings, reaper, None)
            }
        };
        let mutation = mutation.map_err(|denial| denial.to_string())?;
        json_patch::patch(object, &mutation.operations.to_patch()).map_err(|error| error.to_string())?;
        Ok(mutation)
    }

    /// Which rule finds each ID of `object`; `None` if it is neither a Job nor a pod.
    fn explain(&self, kind: Kind, object: &Value) -> Result<Option<Explanation>, String> {
        let text = object.to_string();
        Ok(match kind {
            Kind::Other => None,
            Kind::Job => {
                let job: Job<'_> = serde_json::from_str(&text).map_err(unreadable)?;
                Some(self.settings.rules.explain(&Subject::of_job(&job)))
            }
            Kind::Pod => {
                let pod: Pod<'_> = serde_json::from_str(&text).map_err(unreadable)?;
                Some(self.settings.rules.explain(&Subject::of_pod(&pod)))
            }
        })
    }
}

#[allow(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn unreadable(error: serde_json::Error) -> String {
    format!("jobwarden cannot parse it: {error}")
}

/// Why admission leaves an object unchanged.
fn reason(skip: Skip) -> &'static str {
    match skip {
        Skip::Enrolled => "it has been injected already",
        Skip::OptedOut => "it opts out with jobwarden.io/inject",
        Skip::Mirror => "it is the kubelet's copy of a static pod",
        Skip::NotOfJob => "it is not controlled by a Job; the label jobwarden.io/inject: \"true\" enrols it",
        Skip::Windows => "it is for Windows",
        Skip::NoSpec => "it has no spec",
        Skip::NotCreated | Skip::OtherResource => "it is neither a Job nor a pod",
        Skip::Unreadable => "it cannot be parsed",
    }
}

fn placeholder_endpoint() -> Endpoint {
    let name = "jobwarden-reaper.jobwarden.svc".to_owned();
    Endpoint::from_parts(PLACEHOLDER_ADDRESS.to_owned(), name, String::new()).as_placeholder()
}

fn endpoint_of(path: &PathBuf) -> Result<Endpoint, InjectError> {
    let (objects, _) = read(path)?;
    let value = |key: &'static str| {
        let value = objects.first().and_then(|map| map["data"][key].as_str());
        value.map(str::to_owned).ok_or_else(|| InjectError::Endpoint { path: path.clone(), key })
    };
    let (address, server_name) = (value(endpoint_key::ADDRESS)?, value(endpoint_key::SERVER_NAME)?);
    Ok(Endpoint::from_parts(address, server_name, value(endpoint_key::CA)?))
}

#[cfg(test)]
mod tests;
