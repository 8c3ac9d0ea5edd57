//! What admission would make of objects.

use std::path::PathBuf;

use clap::Args;
use jobwarden_common::names::endpoint_key;
use jobwarden_inject::{
    endpoint::Endpoint,
    identity::{Explanation, rule::Subject},
    patch::{self, Effect, Mutation, Settings, Skip},
    view::{Job, Pod},
};
use serde_json::Value;

use super::{FileArgs, Kind, OfflineError, note, print, read, say};
use crate::{configuration::Configuration, documents::Name, settings::SettingsArgs};

/// An address that nothing answers at (RFC 5737), for want of the cluster's.
const NOWHERE: &str = "192.0.2.1:8444";

/// Print what admission would make of Jobs and pods
///
/// By the very code that answers the API server, as if their namespace were enrolled. Other objects, and those that admission
/// leaves alone, are printed as they are. Warnings and reasons go to standard error.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  What becomes of a Job:
    jobwarden-webhook inject -f job.yaml
  Which rule finds its IDs, by a configuration file:
    jobwarden-webhook inject -f job.yaml --config config.yaml --explain
  A pod with the sidecar that it would get in this cluster:
    kubectl -n jobwarden get configmap jobwarden-reaper-endpoint -o yaml > endpoint.yaml
    jobwarden-webhook inject -f pod.yaml --endpoint endpoint.yaml")]
pub(crate) struct InjectArgs {
    #[command(flatten)]
    files: FileArgs,

    /// Namespace of objects that do not name one
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    namespace: String,

    /// Tell which rule gives which ID instead of printing the objects
    #[arg(long)]
    explain: bool,

    /// File with jobwarden-reaper-endpoint, a `ConfigMap`, as kubectl prints it: where sidecars report, and whom they trust
    #[arg(long, value_name = "FILE")]
    endpoint: Option<PathBuf>,

    #[command(flatten, next_help_heading = "Admission")]
    settings: SettingsArgs,
}

/// Does to objects what admission does.
#[derive(Debug)]
pub struct Injector {
    /// What the installation wants.
    pub settings: Settings,
    /// Where sidecars report.
    pub reaper: Endpoint,
    /// Of objects that do not name one.
    pub namespace: String,
}

impl InjectArgs {
    /// Does what the command line says.
    pub(crate) fn run(self) -> Result<(), OfflineError> {
        let Self { files, namespace, explain, endpoint, settings } = self;
        let (_, settings) = Configuration::load(settings)?;
        let placeholder = endpoint.is_none();
        let reaper = endpoint.map_or_else(|| Ok(nowhere()), |path| endpoint_of(&path))?;
        let injector = Injector { settings, reaper, namespace };
        let mut input = files.read()?;
        if explain {
            let mut text = String::new();
            input.change(|object| {
                if let Some(explanation) = injector.explain(object)? {
                    text.extend([format!("{}\n", Name(object)), explanation.to_string()]);
                }
                Ok(())
            })?;
            return print(&text);
        }
        let mut injected = false;
        input.change(|object| {
            let mutation = injector.inject(object)?;
            for warning in &mutation.warnings {
                note(object, &format!("warning: {warning}"));
            }
            match mutation.effect {
                Effect::Skipped(skip) => note(object, &format!("left alone: {}", reason(skip))),
                effect => injected |= effect == Effect::Injected,
            }
            if object["kind"] == "CronJob" {
                note(object, "its Jobs are admitted when they are made, not the CronJob itself");
            }
            Ok(())
        })?;
        if injected && placeholder {
            say(&format!("warning: without --endpoint the sidecar reports to {NOWHERE} and trusts nobody"));
        }
        input.print()
    }
}

impl Injector {
    /// Does to `object` what admission would do, and tells what that was; an error is what admission says when it refuses.
    pub fn inject(&self, object: &mut Value) -> Result<Mutation, String> {
        let Self { settings, reaper, namespace } = self;
        let kind = Kind::of(object);
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
        let text = object.to_string();
        let unreadable = |error: serde_json::Error| format!("jobwarden cannot read it: {error}");
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

    /// Which rule gives which ID of `object`; `None` for what is neither Job nor pod.
    fn explain(&self, object: &Value) -> Result<Option<Explanation>, String> {
        let text = object.to_string();
        let unreadable = |error: serde_json::Error| format!("jobwarden cannot read it: {error}");
        Ok(match Kind::of(object) {
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

/// Why admission leaves an object alone, for people.
fn reason(skip: Skip) -> &'static str {
    match skip {
        Skip::Enrolled => "it has everything already",
        Skip::OptedOut => "it opts out by the label jobwarden.io/inject: \"false\"",
        Skip::NotOfJob => "no Job controls it; the label jobwarden.io/inject: \"true\" enrols it",
        Skip::Windows => "it is for Windows",
        Skip::NoSpec => "it has no spec",
        Skip::NotCreated | Skip::OtherResource => "it is neither a Job nor a pod",
        Skip::Unreadable => "it cannot be read",
    }
}

fn nowhere() -> Endpoint {
    Endpoint::from_parts(NOWHERE.to_owned(), "jobwarden-reaper.jobwarden.svc".to_owned(), String::new())
}

fn endpoint_of(path: &PathBuf) -> Result<Endpoint, OfflineError> {
    let (objects, _) = read(path)?;
    let value = |key: &'static str| {
        let value = objects.first().and_then(|map| map["data"][key].as_str());
        value.map(str::to_owned).ok_or_else(|| OfflineError::Endpoint { path: path.clone(), key })
    };
    let (address, server_name) = (value(endpoint_key::ADDRESS)?, value(endpoint_key::SERVER_NAME)?);
    Ok(Endpoint::from_parts(address, server_name, value(endpoint_key::CA)?))
}
