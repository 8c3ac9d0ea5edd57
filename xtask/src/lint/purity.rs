//! The crates that decide have no I/O among their dependencies: what decides can then be tested and simulated without a mock.

use anyhow::bail;

use super::outcome::Outcome;
use crate::command::{cargo, output};

/// The crates that decide.
const PURE: [&str; 3] = ["jobwarden-common", "jobwarden-core", "jobwarden-inject"];

/// Runtimes, clients, servers, loggers and metrics.
const IO: [&str; 9] =
    ["axum", "hyper", "kube", "kube-client", "prometheus-client", "reqwest", "rustls", "tokio", "tracing"];

pub(super) fn check() -> anyhow::Result<Outcome> {
    let mut found = Vec::new();
    for package in PURE {
        let tree = output(cargo().args(["tree", "--package", package, "--edges", "normal", "--prefix", "none"]))?;
        found.extend(io_in(&tree).into_iter().map(|dependency| format!("{package} depends on {dependency}")));
    }
    if !found.is_empty() {
        bail!("crates that decide do no I/O, but:\n{}", found.join("\n"));
    }
    Ok(Outcome::Passed)
}

/// The crates with I/O in what `cargo tree --prefix none` prints.
fn io_in(tree: &str) -> Vec<&str> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let mut io: Vec<_> = names.filter(|name| IO.contains(name)).collect();
    io.sort_unstable();
    io.dedup();
    io
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_with_io_is_found_however_deep_it_is() {
        let tree =
            "jobwarden-core v0.1.0 (/src/core)\njiff v0.2.15\nhyper-util v0.1.17\ntokio v1.54.1\ntokio v1.54.1 (*)";
        assert_eq!(io_in(tree), ["tokio"]);
    }
}
