//! The command line.

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    check::{CheckArgs, CheckError},
    offline::{InjectArgs, OfflineError, UninjectArgs},
    serve::{RunError, ServeArgs},
    settings::SettingsArgs,
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
    Inject(Box<InjectArgs>),
    Uninject(UninjectArgs),
    Check(CheckArgs),
}

/// Why a command has failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// `serve`.
    #[error(transparent)]
    Serve(#[from] RunError),
    /// `inject` and `uninject`.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// `check`.
    #[error(transparent)]
    Check(#[from] CheckError),
}

impl WebhookArgs {
    /// Does what the command line says, and says with what status to end.
    pub async fn run(self) -> Result<ExitCode, CommandError> {
        let Self { command } = self;
        match command {
            Command::Serve(args) => args.run().await?,
            Command::Inject(args) => args.run()?,
            Command::Uninject(args) => args.run()?,
            Command::Check(args) => return Ok(args.run().await?),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What a webhook with this command line would do to Jobs and pods; `None` for one that is not understood, or serves nobody.
    pub(crate) fn settings_of(command_line: impl IntoIterator<Item = OsString>) -> Option<SettingsArgs> {
        match Self::try_parse_from(command_line).ok()?.command {
            Command::Serve(args) => Some(args.settings),
            Command::Inject(_) | Command::Uninject(_) | Command::Check(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use rstest::rstest;

    use super::*;

    const REQUIRED: [&str; 4] = ["jobwarden-webhook", "serve", "--namespace=jobwarden", "--sidecar-image=i"];

    fn parse(more: &[&str]) -> Result<ServeArgs, clap::Error> {
        match WebhookArgs::try_parse_from(REQUIRED.iter().chain(more).copied())?.command {
            Command::Serve(args) => Ok(*args),
            other => panic!("serve was asked for, and {other:?} is what came of it"),
        }
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
        assert_eq!(parse(more).expect("good flags").settings.finalizer, expected);
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
