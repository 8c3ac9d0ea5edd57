//! The verbs, and how their result becomes an exit status.

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use jobwarden_serve::logs::with_causes;

use crate::{
    breaker::{BreakerArgs, BreakerError},
    check::{CheckArgs, CheckError},
    completions::CompletionsArgs,
    explain::{ExplainArgs, ExplainError},
    inject::{InjectArgs, InjectError},
    listen::{ListenArgs, ListenError},
    man::{ManArgs, ManError},
    outcomes::{OutcomesArgs, OutcomesError},
    output::{self, OutputError},
    release::{ReleaseArgs, ReleaseError},
    sinks::{SinksArgs, SinksError},
    uninject::{UninjectArgs, UninjectError},
};

/// Stands for the name of the program in examples.
const PLACEHOLDER: &str = "{prog}";

/// Check and explain jobwarden, which finds batch Jobs that die unnoticed
#[derive(Parser, Debug)]
#[command(
    name = "jobwarden",
    version,
    arg_required_else_help = true,
    // The flags -h and -V have no section of their own, so that the help fits a screen.
    help_template = "{about-with-newline}\n{usage-heading} {usage}\n\nCommands:\n{subcommands}{after-help}",
    after_help = "'{prog} COMMAND --help' explains a command, -V prints the version.

Examples:
  {prog} check
  {prog} explain analyzer-7 -n my-jobs"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Check(CheckArgs),
    Explain(ExplainArgs),
    Breaker(BreakerArgs),
    Sinks(SinksArgs),
    Outcomes(OutcomesArgs),
    Inject(Box<InjectArgs>),
    Uninject(UninjectArgs),
    Release(ReleaseArgs),
    Listen(ListenArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum VerbError {
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Explain(#[from] ExplainError),
    #[error(transparent)]
    Breaker(#[from] BreakerError),
    #[error(transparent)]
    Sinks(#[from] SinksError),
    #[error(transparent)]
    Outcomes(#[from] OutcomesError),
    #[error(transparent)]
    Inject(#[from] InjectError),
    #[error(transparent)]
    Uninject(#[from] UninjectError),
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Completions(#[from] OutputError),
    #[error(transparent)]
    Man(#[from] ManError),
}

/// How the program is called, which help and usage lines repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `jobwarden`
    Standalone,
    /// `kubectl jobwarden`: kubectl runs any `kubectl-NAME` in PATH as its command NAME.
    KubectlPlugin,
}

impl Program {
    /// By the path that the program was started with.
    fn of_path(path: Option<&OsString>) -> Self {
        let name = path.and_then(|path| Path::new(path).file_stem());
        if name.is_some_and(|name| name == "kubectl-jobwarden") { Self::KubectlPlugin } else { Self::Standalone }
    }

    const fn typed(self) -> &'static str {
        match self {
            Self::Standalone => "jobwarden",
            Self::KubectlPlugin => "kubectl jobwarden",
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Standalone => "jobwarden",
            Self::KubectlPlugin => "kubectl-jobwarden",
        }
    }
}

/// The whole command line as clap describes it.
pub fn command(program: Program) -> Command {
    named(Cli::command().bin_name(program.typed()), program)
}

/// Puts the name of the program into the examples, and into those of the subcommands.
fn named(command: Command, program: Program) -> Command {
    let command = command.mut_subcommands(|verb| named(verb, program));
    match command.get_after_help().map(|help| help.to_string().replace(PLACEHOLDER, program.typed())) {
        Some(help) => command.after_help(help),
        None => command,
    }
}

/// Runs the command line and prints errors.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let program = Program::of_path(arguments.first());
    let matches = command(program).get_matches_from(arguments);
    let verb = match Cli::from_arg_matches(&matches) {
        Ok(Cli { verb }) => verb,
        Err(error) => error.exit(),
    };
    match verb.run(program).await {
        Ok(status) => status,
        Err(error) => {
            output::message(&format!("error: {}", with_causes(&error)));
            ExitCode::FAILURE
        }
    }
}

impl Verb {
    async fn run(self, program: Program) -> Result<ExitCode, VerbError> {
        match self {
            Self::Check(args) => return Ok(args.run().await?),
            Self::Explain(args) => args.run().await?,
            Self::Breaker(args) => args.run().await?,
            Self::Sinks(args) => return Ok(args.run().await?),
            Self::Outcomes(args) => args.run().await?,
            Self::Inject(args) => args.run()?,
            Self::Uninject(args) => args.run()?,
            Self::Release(args) => args.run().await?,
            Self::Listen(args) => args.run().await?,
            Self::Completions(args) => args.run(command(program), program.file())?,
            Self::Man(args) => args.run(command(Program::Standalone))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests;
