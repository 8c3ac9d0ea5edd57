//! A simulator of clusters over time: Jobs, pods, nodes, kubelets, Leases, sidecars, agents and reapers, with everything that
//! may befall them, and no real clock. It drives the reaper's real state, hearing, judge, guards and plans through seeded
//! random histories of which the actual is known, and holds them to the laws of [`laws`].
//!
//! `cargo test` runs some; `cargo xtask simulate --histories N --seed S` as many as one likes. `docs/simulation.md` tells of it.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a command line")]
#![allow(missing_docs)]

mod statistics;
mod campaign;
mod dice;
mod fault;
mod history;
mod kubernetes;
mod laws;
mod reaper;
mod shrink;
mod fault_injection;
mod signals;
mod world;

use std::{str::FromStr, time::Instant};

/// How many histories `cargo test` has time for, without optimization.
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
    let seldom = statistics.too_seldom();
    assert!(seldom.is_empty(), "these rows occurred too seldom for the laws to show anything: {seldom:?}");
    println!(
        "simulate: {histories} histories from seed {seed} keep every law, in {:.0} s",
        begin.elapsed().as_secs_f64()
    );
}

#[test]
fn a_history_is_the_same_on_every_run() {
    for seed in 0..5 {
        let history = history::History::any(seed);
        let tell = || world::World::new(&history, true).run().timeline;
        assert_eq!(tell(), tell());
    }
}
