//! Log lines, on standard error.

use std::{error::Error, io::IsTerminal as _, iter::successors};

use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, filter::ParseError, util::TryInitError};

/// Flags that say what is logged, and how.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// What is logged: error, warn, info, debug or trace, or a filter by module such as
    /// "info,kube=warn"
    #[arg(long, env = "JOBWARDEN_LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,

    /// How a log line looks
    #[arg(long, env = "JOBWARDEN_LOG_FORMAT", default_value = "plain", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// How a log line looks.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people
    Plain,
    /// One JSON object a line, for programs
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is none.
    #[error(
        "--log-level {filter:?} is not understood; give a level such as \"info\" or a filter such as \"info,kube=warn\""
    )]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Somebody else in this process has set up logging.
    #[error("logging was already set up in this process")]
    Twice(#[source] TryInitError),
}

impl LogArgs {
    /// Logs from now on as the flags say, for the whole process.
    pub fn init(&self) -> Result<(), LogError> {
        use tracing_subscriber::util::SubscriberInitExt as _;

        let Self { log_level, log_format } = self;
        let filter = EnvFilter::builder()
            .parse(log_level)
            .map_err(|source| LogError::Filter { filter: log_level.clone(), source })?;
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match log_format {
            LogFormat::Plain => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
            LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
        }
        .map_err(LogError::Twice)
    }
}

/// An error and what led to it, in one line.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_refused_with_advice() {
        let args = LogArgs { log_level: "info,=,".to_owned(), log_format: LogFormat::Plain };
        let error = args.init().expect_err("no such filter");
        assert!(matches!(error, LogError::Filter { .. }));
        assert!(error.to_string().contains("give a level"));
    }
}
