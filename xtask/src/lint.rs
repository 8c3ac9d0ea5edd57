//! `cargo xtask lint`: every check that runs none of the project's code.

mod clippy;
pub(crate) mod cycles;
mod dependencies;
mod outcome;
mod purity;
mod targets;

use anyhow::{Context as _, bail};
use jobwarden_testbed::progress;

use self::{
    outcome::Outcome,
    targets::{Package, Workspace},
};
use crate::{
    command::{at_root, cargo, helm, output, run},
    generate,
};

struct Check {
    name: &'static str,
    run: fn() -> anyhow::Result<Outcome>,
}

/// Quick ones first.
const CHECKS: [Check; 10] = [
    Check { name: "rustfmt", run: rustfmt },
    Check { name: "import cycles", run: || cycles::check(&Package::all()?).map(passed) },
    Check { name: "no I/O in crates that decide", run: purity::check },
    Check { name: "gofmt", run: gofmt },
    Check { name: "cargo-deny: bans, licences, sources", run: dependencies::policy },
    Check { name: "cargo-deny: advisories", run: dependencies::advisories },
    Check { name: "clippy", run: clippy::run },
    Check { name: "rustdoc", run: || run(cargo().args(RUSTDOC).env("RUSTDOCFLAGS", "--deny warnings")).map(passed) },
    Check { name: "helm lint", run: chart },
    Check { name: "generated files", run: || generate::run(&generate::Args::CHECK).map(passed) },
];

const RUSTDOC: [&str; 3] = ["doc", "--workspace", "--no-deps"];

/// The folders with all Go code of the repository.
const GO: [&str; 2] = ["testbed/kubernetes", "examples/receivers/go"];

/// Runs every check, so that one failure does not hide the next, and names those that failed.
pub(crate) fn run_all() -> anyhow::Result<()> {
    let mut failed = Vec::new();
    let mut not_checked = Vec::new();
    for Check { name, run } in CHECKS {
        let step = progress::step(name);
        match run() {
            Ok(Outcome::Passed) => {}
            Ok(Outcome::NotChecked(reason)) => {
                step.detail("NOT CHECKED");
                not_checked.push(format!("{name}: NOT CHECKED: {reason}"));
            }
            Err(error) => {
                step.detail("failed");
                progress::note(format!("{error:#}"));
                failed.push(name);
            }
        }
    }
    for line in not_checked {
        progress::note(line);
    }
    if !failed.is_empty() {
        bail!("these checks failed: {}", failed.join("; "));
    }
    Ok(())
}

fn passed((): ()) -> Outcome {
    Outcome::Passed
}

fn rustfmt() -> anyhow::Result<Outcome> {
    for workspace in Workspace::all()? {
        run(cargo().args(["fmt", "--all", "--check", "--manifest-path"]).arg(workspace.manifest))?;
    }
    Ok(Outcome::Passed)
}

fn gofmt() -> anyhow::Result<Outcome> {
    let unformatted = output(at_root("gofmt").arg("-l").args(GO))?;
    if !unformatted.is_empty() {
        bail!("these files need `gofmt -w`:\n{unformatted}");
    }
    Ok(Outcome::Passed)
}

/// Once with the default values, and once with every optional part switched on.
fn chart() -> anyhow::Result<Outcome> {
    let lint = ["lint", "--strict", "--quiet", generate::CHART, "--kube-version", generate::KUBE_VERSION];
    for values in [&[][..], &["--values=manifests/lint-values.yaml"]] {
        run(helm()?.args(lint).args(values)).with_context(|| format!("with {values:?}"))?;
    }
    Ok(Outcome::Passed)
}
