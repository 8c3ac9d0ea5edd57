//! `cargo xtask test`: everything that CI runs.

mod brokers;

use std::{panic::resume_unwind, thread};

use crate::{
    command::{cargo, run},
    fuzz, image, lint,
};

/// Run everything that CI runs: lints, unit and property tests, fuzzing, image build, tests with real brokers, end-to-end tests
///
/// Stops at the first kind of test that fails. The end-to-end tests boot real clusters on this machine, which needs root on
/// Linux, Rust, Go and Java; missing Debian packages are installed.
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
    with_brokers_beside(image::build)?;
    run(cargo().args(["test", "--workspace", "--locked", "--test", "cluster"]))?;
    run(cargo().args(["test", "--workspace", "--locked", "--test", "e2e"]))?;
    run(cargo().args(["test", "--workspace", "--locked", "--test", "chaos"]))?;
    run(cargo().args(["test", "--workspace", "--locked", "--test", "webhook"]))
}

/// Runs `work`, and the tests with real brokers at the same time: these mostly wait.
fn with_brokers_beside<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    brokers::ensure_programs()?;
    thread::scope(|scope| {
        let brokers = scope.spawn(brokers::run);
        let result = work()?;
        brokers.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        Ok(result)
    })
}
