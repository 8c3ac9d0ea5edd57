//! Running programs of the system. When one fails, the error contains its output.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::error::{ClusterError, Context, Result};

/// The most characters of a command line that an error quotes.
const QUOTED: usize = 200;

/// Runs `command` to its end and returns what it wrote to stdout.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context(|| format!("starting {}", text_of(command)))?;
    check(command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `command` with the file at `path` as its stdin.
pub(crate) fn run_with_file(command: &mut Command, path: &Path) -> Result<()> {
    let file = std::fs::File::open(path).context(|| format!("opening {}", path.display()))?;
    let output = command.stdin(file).output().context(|| format!("starting {}", text_of(command)))?;
    check(command, &output)
}

/// Runs `command` with `input` on its stdin and returns what it wrote to stdout.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    use std::io::Write;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| format!("starting {}", text_of(command)))?;
    let mut stdin = child.stdin.take().expect("stdin is a pipe, see above");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().context(|| format!("waiting for {}", text_of(command)))?;
    let written = writer.join().map_err(|_| ClusterError::Panicked("the writer of a command's input"))?;
    // The error of a failed command explains more than that of the pipe it closed.
    check(command, &output)?;
    written.context(|| format!("writing to {}", text_of(command)))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Turns an exit status other than success into an error that quotes the output.
pub(crate) fn check(command: &Command, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let text = if stderr.trim().is_empty() { String::from_utf8_lossy(&output.stdout) } else { stderr };
    Err(ClusterError::Command {
        command: text_of(command),
        status: output.status.to_string(),
        output: text.trim().to_owned(),
    })
}

/// The command line, shortened.
pub(crate) fn text_of(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    if text.chars().count() > QUOTED {
        text = text.chars().take(QUOTED).collect::<String>() + "…";
    }
    text
}
