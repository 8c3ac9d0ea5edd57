//! Running programs from the workspace's root.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace").to_owned()
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    at_root(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Helm, as built for the test cluster.
pub(crate) fn helm() -> anyhow::Result<Command> {
    Ok(at_root(jobwarden_testbed::helm()?))
}

/// `program`, run from the workspace's root.
pub(crate) fn at_root(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Runs `command` and returns its stdout. Its stderr goes to this program's stderr.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stderr(std::process::Stdio::inherit()).output();
    let output = output.with_context(|| format!("starting `{}`", text_of(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", text_of(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of `{}` is not UTF-8", text_of(command)))
}

/// Runs `command` with this program's stdout and stderr.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("starting `{}`", text_of(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", text_of(command));
    }
    Ok(())
}

/// The command line, for messages.
pub(crate) fn text_of(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(std::ffi::OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
