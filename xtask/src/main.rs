//! `cargo xtask <verb>`: the project's commands.

// This is a command line tool. It has one large future, which lives as long as the process.
#![allow(clippy::print_stderr, clippy::print_stdout, clippy::large_futures)]

mod bench;
mod chaos;
mod cluster;
mod command;
mod demo;
mod fuzz;
mod generate;
mod image;
mod lint;
mod simulate;
mod test;

use std::{
    io::{Write as _, stderr},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// Build, test and demonstrate jobwarden.
///
/// Start with `demo` to see what jobwarden does, and with `test --quick` after a change.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true,
    after_help = "\
Examples:
  cargo xtask demo              # watch jobwarden handle the loss of a node
  cargo xtask test --quick      # all checks that need no cluster
  cargo xtask test              # everything that CI runs; needs root
  cargo xtask cluster up        # a Kubernetes to experiment with

Run `cargo xtask help <command>` for details and examples of a command."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Demo(demo::Args),
    Test(test::Args),
    /// Check formatting, import cycles, dependencies, clippy, rustdoc, the Helm chart and generated files
    ///
    /// Runs rustfmt, gofmt, the check for import cycles, cargo-deny, clippy on every target, rustdoc, helm lint, and a comparison of
    /// the generated files. Runs all of them even if one fails, and lists those that failed.
    Lint,
    Acyclic(lint::cycles::Args),
    Gen(generate::Args),
    Image(image::Args),
    Cluster(cluster::Args),
    Bench(bench::Args),
    Chaos(chaos::Args),
    Fuzz(fuzz::Args),
    Simulate(simulate::Args),
    Mutate(simulate::MutateArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { verb } = Cli::parse();
    let outcome = match verb {
        Verb::Demo(args) => demo::run(args).await,
        Verb::Test(args) => blocking(move || test::run_all(&args)).await,
        Verb::Lint => blocking(lint::run_all).await,
        Verb::Acyclic(args) => blocking(move || lint::cycles::run(&args)).await,
        Verb::Gen(args) => blocking(move || generate::run(&args)).await,
        Verb::Image(args) => blocking(move || image::run_all(&args)).await,
        Verb::Cluster(args) => cluster::run(args).await,
        Verb::Bench(args) => bench::run_one(args).await,
        Verb::Chaos(args) => chaos::run(args).await,
        Verb::Fuzz(args) => blocking(move || fuzz::run_all(&args)).await,
        Verb::Simulate(args) => blocking(move || simulate::run_all(&args)).await,
        Verb::Mutate(args) => blocking(move || simulate::mutate(&args)).await,
    };
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    // One line without a backtrace, whatever RUST_BACKTRACE says: most errors are about the machine and not about this program.
    let _ = writeln!(stderr(), "error: {error:#}");
    ExitCode::FAILURE
}

/// Runs blocking work, such as starting other programs and waiting for them.
async fn blocking(work: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(work).await?
}
