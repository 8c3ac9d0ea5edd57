//! `cargo xtask lint`: everything that is judged without being run.

use anyhow::{Context as _, bail};
use jobwarden_tests::progress;

use crate::{
    command::{at_root, cargo, helm, output, run},
    generate,
};

/// One thing that is looked at.
struct Check {
    /// What people call it.
    name: &'static str,
    run: fn() -> anyhow::Result<()>,
}

/// Quick ones first.
const CHECKS: [Check; 8] = [
    Check { name: "rustfmt", run: || run(cargo().args(["fmt", "--all", "--check"])) },
    Check { name: "gofmt", run: gofmt },
    Check { name: "clippy", run: || run(cargo().args(CLIPPY)) },
    Check { name: "clippy, end-to-end tests", run: || run(cargo().args(CLIPPY_ON_CLUSTERS)) },
    Check { name: "rustdoc", run: || run(cargo().args(RUSTDOC).env("RUSTDOCFLAGS", "--deny warnings")) },
    Check { name: "helm lint", run: chart },
    Check { name: "generated files", run: || generate::run(&generate::Args::CHECK) },
    Check { name: "cargo deny", run: supply_chain },
];

const CLIPPY: [&str; 6] = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];

/// Tests that `--all-targets` leaves out, for `cargo test` alone must not run them.
const CLIPPY_ON_CLUSTERS: [&str; 12] = [
    "clippy",
    "--package",
    "jobwarden-tests",
    "--test",
    "cluster",
    "--test",
    "e2e",
    "--test",
    "webhook",
    "--",
    "--deny",
    "warnings",
];

const RUSTDOC: [&str; 3] = ["doc", "--workspace", "--no-deps"];

/// The folder with all Go of ours.
const GO: &str = "testbed/kubernetes";

/// Runs every check, so that one failure does not hide the next, and names those that failed.
pub(crate) fn run_all() -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for Check { name, run } in CHECKS {
        let step = progress::step(name);
        if let Err(error) = run() {
            step.detail("failed");
            progress::note(format!("{error:#}"));
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn gofmt() -> anyhow::Result<()> {
    let unformatted = output(at_root("gofmt").args(["-l", GO]))?;
    if !unformatted.is_empty() {
        bail!("these need `gofmt -w`:\n{unformatted}");
    }
    Ok(())
}

/// Once with the defaults, and once with everything that can be chosen.
fn chart() -> anyhow::Result<()> {
    let lint = ["lint", "--strict", "--quiet", generate::CHART, "--kube-version", generate::KUBE_VERSION];
    for values in [&[][..], &["--values=manifests/lint-values.yaml"]] {
        run(helm()?.args(lint).args(values)).with_context(|| format!("with {values:?}"))?;
    }
    Ok(())
}

/// Needs a program that most machines lack and that takes minutes to build: where it is missing, this says so.
fn supply_chain() -> anyhow::Result<()> {
    let known = cargo().args(["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    if !known {
        progress::note("skipped, there is no cargo-deny here: `cargo install --locked cargo-deny` brings it");
        return Ok(());
    }
    // Not the advisories: they need the network, and would fail today what passed yesterday. `cargo deny check advisories`.
    run(cargo().args(["deny", "--workspace", "--locked", "check", "bans", "licenses", "sources"]))
}
