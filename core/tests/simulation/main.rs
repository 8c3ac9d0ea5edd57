//! A simulator of clusters over time: Jobs, pods, nodes, kubelets, Leases, sidecars, agents and reapers, with faults of every
//! kind and without a real clock. It runs jobwarden-core through seeded random histories in which the true state of every
//! worker is known, and checks the laws of [`laws`].
//!
//! `cargo test` runs a few hundred, `cargo xtask simulate --histories N --seed S` any number. See `docs/simulation.md`.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a command line")]
#![allow(missing_docs)]

mod campaign;
mod dice;
mod fault;
mod fault_injection;
mod history;
mod kubernetes;
mod laws;
mod reaper;
mod scenarios;
mod shrink;
mod signals;
mod state;
mod statistics;
mod world;

use std::{str::FromStr, time::Instant};

/// How many histories `cargo test` runs without optimization.
const IN_CI: u64 = 300;

fn from_env<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_history_keeps_every_law() {
    let histories = from_env("SIMULATE_HISTORIES").unwrap_or(IN_CI);
    let seed = from_env("SIMULATE_SEED").unwrap_or(1);
    if histories == 1 {
        let history = history::History::any(seed);
        println!("{history}");
        world::World::new(&history, true).run().timeline.iter().for_each(|line| println!("{line}"));
    }
    let begin = Instant::now();
    let statistics = match campaign::run(seed, histories, histories > IN_CI) {
        Ok(statistics) => statistics,
        Err(failure) => panic!("{failure}"),
    };
    println!("{statistics}");
    let rare = statistics.too_rare();
    assert!(rare.is_empty(), "these rows occurred too rarely for the laws to show anything about them: {rare:?}");
    println!(
        "simulate: {histories} histories from seed {seed} keep every law, in {:.0} s",
        begin.elapsed().as_secs_f64()
    );
}

#[test]
fn a_history_is_the_same_on_every_run() {
    for seed in 0..5 {
        let history = history::History::any(seed);
        let timeline = || world::World::new(&history, true).run().timeline;
        assert_eq!(timeline(), timeline());
    }
}
