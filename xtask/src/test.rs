//! `cargo xtask test`: everything that CI runs.

use crate::{
    command::{cargo, run},
    fuzz, image, lint,
};

/// Run everything that CI runs: lints, unit and property tests, fuzzing, image build, end-to-end tests
///
/// Stops at the first kind of test that fails. The end-to-end tests boot real clusters on this machine, which needs root on
/// Linux, Rust and Go; missing Debian packages are installed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask test --quick                               # needs no root and no cluster
  cargo xtask test                                       # everything
  cargo xtask image && cargo test -p jobwarden-tests --test e2e -- bare_pod")]
pub(crate) struct Args {
    /// Run only what needs no cluster
    #[arg(long)]
    quick: bool,
}

/// Stops at the first failure: later tests take longer and would often fail for the same reason.
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    let Args { quick } = args;
    lint::run_all()?;
    run(cargo().args(["test", "--workspace", "--locked"]))?;
    fuzz::run_all(&fuzz::Args::brief())?;
    if *quick {
        return Ok(());
    }
    image::build()?;
    run(cargo().args(["test", "--workspace", "--locked", "--test", "cluster"]))?;
    run(cargo().args(["test", "--workspace", "--locked", "--test", "e2e"]))?;
    run(cargo().args(["test", "--workspace", "--locked", "--test", "chaos"]))?;
    run(cargo().args(["test", "--workspace", "--locked", "--test", "webhook"]))
}
