//! Standard output and standard error.

use std::io::{self, Write as _};

use serde::Serialize;

/// Why a result could not be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Standard output.
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
    /// JSON.
    #[error("cannot write the result as JSON")]
    Json(#[source] serde_json::Error),
    /// YAML.
    #[error("cannot write the result as YAML")]
    Yaml(#[source] Box<serde_saphyr::ser::Error>),
}

/// Prints a result. A reader that has closed the pipe, such as `head`, is no error.
pub(crate) fn print(text: &str) -> Result<(), OutputError> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(OutputError::Write(error)),
        _ => Ok(()),
    }
}

/// Prints a message beside the result, to standard error.
pub(crate) fn message(text: &str) {
    // If standard error is closed, there is no other place for the message.
    let _ = writeln!(io::stderr(), "{text}");
}

/// `value` as JSON, with a newline at the end.
pub(crate) fn json(value: &impl Serialize) -> Result<String, OutputError> {
    Ok(serde_json::to_string_pretty(value).map_err(OutputError::Json)? + "\n")
}

/// `value` as YAML.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String, OutputError> {
    let mut text = String::new();
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_fmt_writer_with_options(&mut text, value, options)
        .map_err(|error| OutputError::Yaml(Box::new(error)))?;
    Ok(text)
}
