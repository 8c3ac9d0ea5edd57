//! Writes what is generated from the programs' own types: `docs/flags.md`, every flag of every program as clap knows it, and, with the
//! argument `crd`, the custom resource, with `schema`, the JSON Schema of notifications. `cargo xtask gen` calls it.

use std::{
    env,
    error::Error,
    io::{self, Write as _},
};

use clap::{Arg, Command, CommandFactory as _};
use jobwarden::Program;
use jobwarden_common::{
    names::{SERVICE_ACCOUNT_DIR, sidecar_env},
    schema,
};
use jobwarden_reaper::outbox::JobOutcome;
use kube::CustomResourceExt as _;

fn main() -> Result<(), Box<dyn Error>> {
    let text = match env::args().nth(1).as_deref() {
        None => flags(),
        Some("crd") => serde_saphyr::to_string(&JobOutcome::crd())?,
        Some("schema") => serde_json::to_string_pretty(&schema::of_notification())? + "\n",
        Some(other) => return Err(format!("unknown argument {other:?}; expected nothing, crd or schema").into()),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn flags() -> String {
    let mut text = String::from(
        "# Flags, environment and defaults\n\n\
         Written by `cargo xtask gen` from the programs themselves. Durations are written like `90s`, `5m` or `1h30m`.\n",
    );
    for command in [
        jobwarden::command(Program::Standalone),
        jobwarden_webhook::args::WebhookArgs::command(),
        jobwarden_reaper::args::ReaperArgs::command(),
        jobwarden_agent::Args::command(),
    ] {
        describe(&mut text, command.get_name(), &command);
    }
    text.push_str(&sidecar());
    text
}

/// A section for the command if it has flags, and one for each of its subcommands.
fn describe(text: &mut String, name: &str, command: &Command) {
    let flags: Vec<&Arg> = command.get_arguments().filter(|flag| !flag.is_hide_set()).collect();
    let shown: Vec<String> = flags.into_iter().filter_map(row).collect();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    text.push_str(&["\n## `", name, "`\n\n", &about, ".\n"].concat());
    if !shown.is_empty() {
        text.push_str("\n| flag | environment | default | what it sets |\n|---|---|---|---|\n");
        text.push_str(&shown.concat());
    }
    for subcommand in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        describe(text, &format!("{name} {}", subcommand.get_name()), subcommand);
    }
}

fn row(flag: &Arg) -> Option<String> {
    let long = flag.get_long()?;
    let short = flag.get_short().map(|letter| format!("`-{letter}`, ")).unwrap_or_default();
    let code = |text: String| if text.is_empty() { text } else { format!("`{text}`") };
    let env = flag.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let default: Vec<_> = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
    let help = help.replace('|', "\\|").replace('\n', " ");
    Some(format!("| {short}`--{long}` | {} | {} | {help} |\n", code(env), code(default.join(" "))))
}

/// The sidecar has no flags: the webhook sets its environment.
fn sidecar() -> String {
    let rows = [
        (sidecar_env::REAPER_ADDRESS, "", "`host:port` of the reaper's Service"),
        (sidecar_env::REAPER_NAME, "", "the name in the reaper's certificate"),
        (sidecar_env::CA, "", "the CA bundle, PEM"),
        (sidecar_env::INTERVAL_MS, "`10000`", "milliseconds between heartbeats"),
        (sidecar_env::TOKEN_FILE, &format!("`{SERVICE_ACCOUNT_DIR}/token`"), "the token for heartbeats"),
    ];
    let rows = rows.map(|(name, default, what)| format!("| `{name}` | {default} | {what} |\n")).concat();
    format!(
        "\n## `jobwarden-sidecar`\n\nIt has no flags: the webhook sets its environment.\n\n\
         | environment | default | what it sets |\n|---|---|---|\n{rows}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_a_server_has_an_environment_variable() {
        for mut command in [
            jobwarden_webhook::args::WebhookArgs::command(),
            jobwarden_reaper::args::ReaperArgs::command(),
            jobwarden_agent::Args::command(),
        ] {
            command.build();
            let flags = command.get_arguments().filter(|flag| !matches!(flag.get_id().as_str(), "help" | "version"));
            let has_variable =
                |flag: &Arg| flag.get_env().is_some_and(|name| name.to_string_lossy().starts_with("JOBWARDEN_"));
            let without: Vec<_> = flags.filter(|flag| !has_variable(flag)).map(Arg::get_id).collect();
            assert!(without.is_empty(), "{}: {without:?}", command.get_name());
        }
    }
}
