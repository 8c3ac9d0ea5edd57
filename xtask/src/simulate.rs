//! `cargo xtask simulate` and `cargo xtask mutate`: what shows that the judgement is right, and that this would show if it were
//! not.

use anyhow::{Context as _, bail};

use crate::command::{cargo, run};

/// Let the reaper judge random histories of simulated clusters, and hold it to the laws; see docs/simulation.md
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many histories
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    histories: u64,
    /// The seed of the first; each further one has the next
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
}

/// Change the judge and the guards in one place after another, and see that tests or laws notice; see docs/simulation.md
#[derive(clap::Args)]
pub(crate) struct MutateArgs {
    /// Only the K-th of N parts, such as 0/8
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Only changes whose description matches this regular expression
    #[arg(long, value_name = "REGEX")]
    only: Option<String>,
}

/// The test that runs the histories; as a test, so that `cargo test` runs some of them too.
const TEST: [&str; 11] = [
    "test",
    "--release",
    "--locked",
    "--package",
    "jobwarden-reaper",
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
        bail!("give at least one history");
    }
    let mut simulator = cargo();
    simulator.args(TEST);
    simulator.env("SIMULATE_HISTORIES", histories.to_string()).env("SIMULATE_SEED", seed.to_string());
    run(&mut simulator).context("a history breaks a law; the least one that does is told of above")?;
    println!("simulate {histories}: every law holds");
    Ok(())
}

/// Which files are changed, and which tests have to notice, stands in `.cargo/mutants.toml`.
pub(crate) fn mutate(args: &MutateArgs) -> anyhow::Result<()> {
    let MutateArgs { shard, only } = args;
    let known = cargo().args(["mutants", "--version"]).output().is_ok_and(|output| output.status.success());
    if !known {
        bail!("there is no cargo-mutants here: `cargo install --locked cargo-mutants` brings it");
    }
    let mut mutants = cargo();
    mutants.args([
        "mutants",
        "--package",
        "jobwarden-reaper",
        "--output",
        "target",
        "--baseline",
        "run",
        "--no-shuffle",
    ]);
    mutants.args(shard.iter().flat_map(|shard| ["--shard", shard]));
    mutants.args(only.iter().flat_map(|only| ["--re", only]));
    // Fewer histories than in CI: a change that a law notices, many histories notice.
    mutants.env("SIMULATE_HISTORIES", "150");
    run(&mut mutants).context("what survived is listed in target/mutants.out/missed.txt")?;
    println!("mutate: no change survives");
    Ok(())
}
