//! `cargo xtask test`: everything that CI runs.

use crate::{
    command::{cargo, run},
    fuzz, image, lint,
};

/// Run everything that CI runs: lints, unit and property tests, golden files, image build, end-to-end tests
///
/// The end-to-end tests boot real clusters, so this needs root on Linux; what else is missing is installed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only what needs no cluster
    #[arg(long)]
    quick: bool,
}

/// Stops at the first kind of test that fails: the later ones take longer and would fail for the same reason.
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    let Args { quick } = args;
    lint::run_all()?;
    run(cargo().args(["test", "--workspace", "--locked"]))?;
    fuzz::run_one(&fuzz::Args::brief())?;
    if *quick {
        return Ok(());
    }
    image::build()?;
    run(cargo().args(["test", "--workspace", "--locked", "--test", "cluster"]))?;
    run(cargo().args(["test", "--workspace", "--locked", "--test", "e2e"]))?;
    run(cargo().args(["test", "--workspace", "--locked", "--test", "chaos"]))?;
    run(cargo().args(["test", "--workspace", "--locked", "--test", "webhook"]))
}
