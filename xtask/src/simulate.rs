//! `cargo xtask simulate` checks the decisions against laws, and `cargo xtask mutate` checks that tests and laws notice a wrong
//! decision.

use anyhow::{Context as _, bail};

use crate::command::{cargo, run};

/// Check the reaper's decisions in random histories of simulated clusters
///
/// Simulates Kubernetes with random faults, lets the reaper decide, and checks laws such as: no live worker is ever failed.
/// Prints the smallest history that breaks a law. docs/simulation.md explains the laws. Needs no cluster.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask simulate                                # 100,000 histories
  cargo xtask simulate --histories 2000 --seed 7      # fewer, from another seed on
  cargo xtask simulate --histories 1 --seed 22996     # one history, printed line by line")]
pub(crate) struct Args {
    /// The number of histories
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    histories: u64,
    /// The seed of the first history; each further history has the next seed
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
}

/// Check that tests or laws notice every change of the decisions
///
/// Runs cargo-mutants on the files in .cargo/mutants.toml: changes one place after another and runs the tests. First come the unit
/// tests, then, with the changes that those did not notice, the laws of the simulator. A change that neither notices is listed in
/// target/mutants.out/missed.txt. Takes hours; use --shard or --only for a part.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask mutate --shard 0/8
  cargo xtask mutate --only 'guard::breaker'")]
pub(crate) struct MutateArgs {
    /// Run only the K-th of N parts, such as 0/8
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Make only changes whose description matches this regular expression
    #[arg(long, value_name = "REGEX")]
    only: Option<String>,
}

/// The test that runs the histories. It is a test so that `cargo test` also runs some of them.
const TEST: [&str; 11] = [
    "test",
    "--release",
    "--locked",
    "--package",
    "jobwarden-core",
    "--test",
    "simulation",
    "--",
    "--exact",
    "--nocapture",
    "every_history_keeps_every_law",
];

/// The exit status of cargo-mutants if tests passed in spite of a change (<https://mutants.rs/exit-codes.html>),
const MISSED: i32 = 2;
/// and if tests did not end.
const TIMED_OUT: i32 = 3;

pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    let Args { histories, seed } = args;
    if *histories == 0 {
        bail!("--histories must be at least 1");
    }
    let mut simulator = cargo();
    simulator.args(TEST);
    simulator.env("SIMULATE_HISTORIES", histories.to_string()).env("SIMULATE_SEED", seed.to_string());
    run(&mut simulator).context("a history breaks a law; see the smallest such history above")?;
    println!("simulate {histories}: every law holds");
    Ok(())
}

/// `.cargo/mutants.toml` configures which files are changed and which tests run.
pub(crate) fn mutate(args: &MutateArgs) -> anyhow::Result<()> {
    let MutateArgs { shard, only } = args;
    let known = cargo().args(["mutants", "--version"]).output().is_ok_and(|output| output.status.success());
    if !known {
        bail!("cargo-mutants is not installed: run `cargo install --locked cargo-mutants`");
    }
    let pass = |tests: &[&str]| {
        let mut mutants = cargo();
        mutants.args(["mutants", "--package", "jobwarden-core", "--output", "target", "--no-shuffle"]);
        // Nobody debugs these builds.
        mutants.env("CARGO_PROFILE_DEV_DEBUG", "none").env("CARGO_PROFILE_TEST_DEBUG", "none");
        mutants.args(shard.iter().flat_map(|shard| ["--shard", shard]));
        mutants.args(only.iter().flat_map(|only| ["--re", only]));
        // Fewer histories than in CI: a change that breaks a law breaks it in many histories.
        mutants.args(tests).env("SIMULATE_HISTORIES", "150");
        mutants
    };
    // The unit tests take a tenth of the time of the simulation and notice most changes.
    let by_unit_tests = pass(&["--cargo-arg=--lib"]).status().context("running cargo mutants")?;
    match by_unit_tests.code() {
        Some(0) => {}
        Some(MISSED | TIMED_OUT) => {
            let mut by_laws = pass(&["--iterate", "--cargo-arg=--test=simulation"]);
            run(&mut by_laws).context("some changes were not noticed; see target/mutants.out/missed.txt")?;
        }
        _ => bail!("`cargo mutants` failed ({by_unit_tests})"),
    }
    println!("mutate: every change was noticed");
    Ok(())
}
