//! Standard output and standard error.

use std::{
    borrow::Cow,
    io::{self, Write as _},
};

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

/// `line` with its control characters escaped: what a tenant wrote must not control the terminal of its reader, nor look like a line of ours.
pub(crate) fn printable(line: &str) -> Cow<'_, str> {
    if line.contains(controls_terminal) {
        let escape = |letter: char| {
            if controls_terminal(letter) { letter.escape_default().to_string() } else { letter.into() }
        };
        line.chars().map(escape).collect::<String>().into()
    } else {
        line.into()
    }
}

/// Control characters, the separators of lines, and what changes the direction of text (Unicode Standard Annex #9), which can make a line
/// look like another one.
pub(crate) fn controls_terminal(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("größe 😀", "größe 😀")]
    #[case("\u{1b}[2J", "\\u{1b}[2J")]
    #[case("a\r\nb\tc", "a\\r\\nb\\tc")]
    #[case("\u{9b}31m", "\\u{9b}31m")]
    #[case("\u{202e}txt", "\\u{202e}txt")]
    #[case("a\u{2028}b", "a\\u{2028}b")]
    fn what_controls_a_terminal_is_escaped(#[case] line: &str, #[case] expected: &str) {
        assert_eq!(printable(line), expected);
    }
}
