//! `cargo xtask simulate` and `cargo xtask mutate`: random histories against the laws, and changes of the code that some test or
//! law has to detect.

use anyhow::{Context as _, bail};

use crate::command::{cargo, run};

/// Run the reaper's decisions through random histories of simulated clusters and check the laws; see docs/simulation.md
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of histories
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    histories: u64,
    /// Seed of the first history; each further history has the next number
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
}

/// Change one place after another of what decides, and check that a test or a law fails; see docs/simulation.md
#[derive(clap::Args)]
pub(crate) struct MutateArgs {
    /// Run only the K-th of N parts, such as 0/8
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Run only the changes whose description matches this regular expression
    #[arg(long, value_name = "REGEX")]
    only: Option<String>,
}

/// The test that runs the histories. It is a test so that `cargo test` runs some of them, too.
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

pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    let Args { histories, seed } = args;
    if *histories == 0 {
        bail!("--histories must be at least 1");
    }
    let mut simulator = cargo();
    simulator.args(TEST);
    simulator.env("SIMULATE_HISTORIES", histories.to_string()).env("SIMULATE_SEED", seed.to_string());
    run(&mut simulator).context("a history breaks a law; the smallest one that does is printed above")?;
    println!("simulate {histories}: every law holds");
    Ok(())
}

/// `.cargo/mutants.toml` says which files are changed and which tests have to fail.
pub(crate) fn mutate(args: &MutateArgs) -> anyhow::Result<()> {
    let MutateArgs { shard, only } = args;
    let installed = cargo().args(["mutants", "--version"]).output().is_ok_and(|output| output.status.success());
    if !installed {
        bail!("cargo-mutants is not installed; run `cargo install --locked cargo-mutants`");
    }
    let mut mutants = cargo();
    mutants.args(["mutants", "--package", "jobwarden-core", "--output", "target", "--baseline", "run", "--no-shuffle"]);
    mutants.args(shard.iter().flat_map(|shard| ["--shard", shard]));
    mutants.args(only.iter().flat_map(|only| ["--re", only]));
    // Fewer histories than in CI: a change that breaks a law breaks it in many histories.
    mutants.env("SIMULATE_HISTORIES", "150");
    run(&mut mutants).context("some changes made no test fail; see target/mutants.out/missed.txt")?;
    println!("mutate: every change made a test or a law fail");
    Ok(())
}
