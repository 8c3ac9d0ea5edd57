//! `cargo xtask gen`: the files that are generated from others.
//!
//! ```text
//!  Cargo.toml ──────────► Chart.yaml ┐
//!  the reaper's types ──► CRD ───────┴► chart ──► install.yaml, release.yaml
//!  install.yaml, release.yaml ──► docs/rbac.md
//!  the programs' command lines ──► docs/flags.md
//!  the types of a notification ──► docs/notification.schema.json
//! ```

mod rbac;

use std::{fs, io, path::Path};

use anyhow::{Context as _, bail};
use jobwarden_testbed::progress;

use crate::command::{cargo, helm, output, root};

/// The chart's folder.
pub(crate) const CHART: &str = "manifests/chart";

/// The Kubernetes version for rendering manifests: the oldest that the chart supports.
pub(crate) const KUBE_VERSION: &str = "1.30.0";

/// Write the generated files: the chart's version, the custom resource, the plain manifests, docs/rbac.md, docs/flags.md,
/// docs/notification.schema.json
///
/// Run it after a change of the workspace's version, of the types of outcomes and notifications, of the chart or of command line
/// flags, and commit the result.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask gen
  cargo xtask gen --check      # as CI does")]
pub(crate) struct Args {
    /// Write nothing, and fail if a file is out of date
    #[arg(long)]
    check: bool,
}

impl Args {
    /// Only compare.
    pub(crate) const CHECK: Self = Self { check: true };
}

/// A file that is generated, entirely or in part.
struct Generated {
    /// The path, relative to the workspace's root.
    path: &'static str,
    /// Generates the content. The argument is the current content, or empty if the file does not exist.
    make: fn(&str) -> anyhow::Result<String>,
}

/// All generated files, each after those that it depends on.
const FILES: [Generated; 7] = [
    Generated { path: "manifests/chart/Chart.yaml", make: |now| Ok(with_version(now, env!("CARGO_PKG_VERSION"))) },
    Generated { path: "manifests/chart/files/joboutcomes.yaml", make: |_| custom_resource() },
    Generated { path: "manifests/install.yaml", make: |_| install() },
    Generated { path: "manifests/release.yaml", make: |_| release() },
    Generated { path: "docs/rbac.md", make: |_| rights() },
    Generated { path: "docs/flags.md", make: |_| flags() },
    Generated { path: "docs/notification.schema.json", make: |_| schema() },
];

/// Writes the files that are out of date, or lists them.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Args { check } = args;
    let mut stale = Vec::new();
    for Generated { path, make } in FILES {
        let place = root().join(path);
        let now = read(&place)?;
        let wanted = make(&now).with_context(|| format!("generating {path}"))?;
        if now == wanted {
            continue;
        }
        stale.push(path);
        if !check {
            fs::write(&place, wanted).with_context(|| format!("writing {path}"))?;
            progress::note(format!("wrote {path}"));
        }
    }
    if *check && !stale.is_empty() {
        bail!("out of date: {}\nrun `cargo xtask gen` and commit the result", stale.join(", "));
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text.with_context(|| format!("reading {}", path.display())),
    }
}

/// `chart` with both of its versions, and those of its images, set to `version`.
fn with_version(chart: &str, version: &str) -> String {
    let lines = chart.lines().map(|line| match line.split_once(':') {
        Some((key @ ("version" | "appVersion"), _)) => format!("{key}: {version}\n"),
        Some((key, image)) if key.trim_start() == "image" => {
            format!("{key}:{}:{version}\n", image.split_once(':').map_or(image, |(repository, _)| repository))
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// The `CustomResourceDefinition`, from the reaper's types.
fn custom_resource() -> anyhow::Result<String> {
    let crd = output(cargo().args(["run", "--quiet", "--package", "jobwarden-reference", "--", "crd"]))?;
    Ok(format!("# The reaper's types, written by `cargo xtask gen`.\n{crd}"))
}

/// The flags of all programs, from clap.
fn flags() -> anyhow::Result<String> {
    output(cargo().args(["run", "--quiet", "--package", "jobwarden-reference"]))
}

/// The JSON Schema of notifications, from the types.
fn schema() -> anyhow::Result<String> {
    output(cargo().args(["run", "--quiet", "--package", "jobwarden-reference", "--", "schema"]))
}

/// Everything except the hooks that run before an uninstall.
fn install() -> anyhow::Result<String> {
    let head = "\
# jobwarden without Helm; written by `cargo xtask gen` from manifests/chart and install-values.yaml.
#
# Install and upgrade:
#   kubectl apply --server-side -f manifests/install.yaml
# Remove, together with the outcomes that are still there (`kubectl -n jobwarden get joboutcomes`):
#   kubectl apply --server-side -f manifests/release.yaml
#   kubectl -n jobwarden wait --for=condition=Complete job/jobwarden-release --timeout=5m
#   kubectl delete -f manifests/release.yaml -f manifests/install.yaml
";
    Ok(format!("{head}{}", render(&["--no-hooks"])?))
}

/// The hooks that have to run before everything else is deleted.
fn release() -> anyhow::Result<String> {
    let head = "\
# Removes jobwarden's finalizer from every Job, before jobwarden is removed; written by `cargo xtask gen` from manifests/chart.
# The head of install.yaml explains its use.
";
    let templates = ["--show-only=templates/release-rbac.yaml", "--show-only=templates/release-job.yaml"];
    Ok(format!("{head}{}", render(&templates)?))
}

/// Every right, from the manifests that were just written.
fn rights() -> anyhow::Result<String> {
    let manifest = |path| read(&root().join(path));
    rbac::page(&[manifest("manifests/install.yaml")?, manifest("manifests/release.yaml")?])
}

fn render(choice: &[&str]) -> anyhow::Result<String> {
    let mut command = helm()?;
    command.args(["template", "jobwarden", CHART, "--namespace=jobwarden", "--values=manifests/install-values.yaml"]);
    output(command.args(["--kube-version", KUBE_VERSION]).args(choice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_of_the_chart_and_of_its_images_follow_the_workspace() {
        let chart = "apiVersion: v2\n# version: of what\nversion: 0.1.0\nappVersion: \"0.0.9\"\n      image: example.com/a:0.1.0\n";
        assert_eq!(
            with_version(chart, "1.2.3"),
            "apiVersion: v2\n# version: of what\nversion: 1.2.3\nappVersion: 1.2.3\n      image: example.com/a:1.2.3\n"
        );
    }

    #[test]
    fn a_file_comes_after_those_it_depends_on() {
        let place = |path: &str| FILES.iter().position(|file| file.path == path).expect("a generated file");
        for dependency in ["manifests/chart/Chart.yaml", "manifests/chart/files/joboutcomes.yaml"] {
            assert!(place(dependency) < place("manifests/install.yaml"));
        }
    }
}
