//! Clippy on every target of every workspace, with proof that none was left out.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, IsTerminal as _, stderr},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::{
    outcome::Outcome,
    targets::{Target, Workspace},
};
use crate::command::{cargo, root};

/// The lines of `--message-format=json` that matter here.
#[derive(Deserialize)]
#[serde(tag = "reason")]
enum Message {
    /// A target was checked, or its earlier result still holds.
    #[serde(rename = "compiler-artifact")]
    Checked { target: Target },
    #[serde(rename = "compiler-message")]
    Diagnostic { message: Diagnostic },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Diagnostic {
    rendered: String,
}

/// Fails on any warning in any target.
pub(super) fn run() -> anyhow::Result<Outcome> {
    let main = root().join("Cargo.toml");
    let mut failures = Vec::new();
    for workspace in Workspace::all()? {
        // A workspace of its own shares the folder of `cargo xtask fuzz`, so that the source tree stays free of build output.
        let target_folder = (workspace.manifest != main).then(|| root().join("target/fuzz"));
        if let Err(error) = check(&workspace, target_folder.as_deref()) {
            failures.push(format!("{}: {error:#}", workspace.manifest.display()));
        }
    }
    if !failures.is_empty() {
        bail!(failures.join("\n"));
    }
    Ok(Outcome::Passed)
}

/// Checks every target of `workspace`, and fails if cargo did not report each of them.
fn check(workspace: &Workspace, target_folder: Option<&Path>) -> anyhow::Result<()> {
    let targets: BTreeSet<&Target> = workspace.packages.iter().flat_map(|package| &package.targets).collect();
    let mut clean = true;
    let mut checked = BTreeSet::new();
    // The text of diagnostics comes within the JSON, with colours for a terminal.
    let format = if stderr().is_terminal() { "json-diagnostic-rendered-ansi" } else { "json" };
    for selection in selections(&targets) {
        let mut command = cargo();
        command.args(["clippy", "--quiet", "--workspace", "--keep-going", "--message-format", format]);
        command.arg("--manifest-path").arg(&workspace.manifest);
        if let Some(folder) = target_folder {
            command.arg("--target-dir").arg(folder);
        }
        command.args(selection).args(["--", "--deny", "warnings"]);
        clean &= read_messages(&mut command, &mut checked)?;
    }
    if !clean {
        bail!("clippy has warnings or errors, see above");
    }
    let missed: Vec<String> =
        targets.iter().filter(|target| !checked.contains(**target)).map(ToString::to_string).collect();
    if !missed.is_empty() {
        bail!("clippy did not check these targets:\n{}", missed.join("\n"));
    }
    Ok(())
}

/// What to select so that no target is left out: everything that `cargo test` compiles, then by name every target that a manifest may
/// exclude from that with `test = false` or `bench = false`.
fn selections(targets: &BTreeSet<&Target>) -> Vec<Vec<String>> {
    let named = targets.iter().filter(|target| matches!(target.kind(), "test" | "bench" | "example"));
    let named: BTreeSet<String> = named.map(|target| format!("--{}={}", target.kind(), target.name)).collect();
    let mut selections = vec![vec!["--all-targets".to_owned()]];
    if !named.is_empty() {
        selections.push(named.into_iter().collect());
    }
    selections
}

/// Prints the diagnostics of `command`, collects the targets it reports, and returns whether it succeeded.
fn read_messages(command: &mut Command, checked: &mut BTreeSet<Target>) -> anyhow::Result<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start `cargo clippy`")?;
    let stdout = child.stdout.take().context("`cargo clippy` has no stdout")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read the output of `cargo clippy`")?;
        match serde_json::from_str(&line).context("the output of `cargo clippy` has an unknown form")? {
            Message::Checked { target } => _ = checked.insert(target),
            Message::Diagnostic { message } => eprint!("{}", message.rendered),
            Message::Other => {}
        }
    }
    Ok(child.wait().context("cannot wait for `cargo clippy`")?.success())
}
