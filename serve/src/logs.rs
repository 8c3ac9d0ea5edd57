//! Logs, on standard error, and how errors are printed.

use std::{
    error::Error,
    io::{IsTerminal as _, Write as _, stderr},
    iter::successors,
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, filter::ParseError, util::TryInitError};

/// Flags of the logs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// What to log: error, warn, info, debug or trace, or a filter by module such as
    /// "info,kube=warn"
    #[arg(long, env = "JOBWARDEN_LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,

    /// Format of log lines
    #[arg(long, env = "JOBWARDEN_LOG_FORMAT", default_value = "plain", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// Format of log lines.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people
    Plain,
    /// One JSON object per line, for programs
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is invalid.
    #[error("invalid --log-level {filter:?}: give a level such as \"info\" or a filter such as \"info,kube=warn\"")]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A logger is already installed in this process.
    #[error("logging is already set up in this process")]
    Twice(#[source] TryInitError),
}

impl LogArgs {
    /// Sets up logging for the whole process.
    pub fn init(&self) -> Result<(), LogError> {
        use tracing_subscriber::util::SubscriberInitExt as _;

        let Self { log_level, log_format } = self;
        let filter = EnvFilter::builder()
            .parse(log_level)
            .map_err(|source| LogError::Filter { filter: log_level.clone(), source })?;
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
        match log_format {
            LogFormat::Plain => lines.with_ansi(stderr().is_terminal()).finish().try_init(),
            LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
        }
        .map_err(LogError::Twice)
    }
}

/// An error and its causes on one line: `error: cause: cause of the cause`. A cause that the text before it includes already is not
/// repeated: some libraries print the source of an error with the error.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in successors(error.source(), |&cause| cause.source()).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Prints the error of `main` and its causes on one line, without a backtrace, and returns the exit code of a failure.
pub fn exit_with(error: &dyn Error) -> ExitCode {
    // Nothing is left to do if standard error is closed.
    let _ = writeln!(stderr(), "error: {}", with_causes(error));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_printed_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read file")]
        struct ReadError(#[source] std::io::Error);

        let error = ReadError(std::io::Error::other("disk on fire"));
        assert_eq!(with_causes(&error), "cannot read file: disk on fire");
    }

    #[test]
    fn a_cause_that_the_error_prints_itself_is_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot connect: {0}")]
        struct ConnectError(#[source] std::io::Error);

        let error = ConnectError(std::io::Error::other("connection refused"));
        assert_eq!(with_causes(&error), "cannot connect: connection refused");
    }

    #[test]
    fn an_invalid_filter_is_rejected_with_advice() {
        let args = LogArgs { log_level: "info,=,".to_owned(), log_format: LogFormat::Plain };
        let error = args.init().expect_err("the filter is invalid");
        assert!(matches!(error, LogError::Filter { .. }));
        assert!(error.to_string().contains("give a level"));
    }
}
