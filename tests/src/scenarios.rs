//! Running end-to-end tests that share one cluster. Each test is a scenario: a function whose name is the claim it checks.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use jobwarden_testbed::progress;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

/// Tests from functions that take a `&SharedCluster`.
#[macro_export]
macro_rules! scenarios {
    ($cluster:expr, $($module:ident::$scenario:ident),* $(,)?) => {
        vec![$({
            let cluster = ::std::sync::Arc::clone($cluster);
            let run = move || cluster.runtime().block_on($module::$scenario(&cluster));
            $crate::scenarios::trial(stringify!($scenario), run)
        }),*]
    };
}

/// Scenarios that may run at the same time.
pub struct Stage {
    /// How many run at once, unless the command line asks for fewer.
    pub at_once: usize,
    /// The scenarios.
    pub trials: Vec<Trial>,
}

/// One test, which says how long it took.
pub fn trial(name: &'static str, run: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let started = Instant::now();
        let result = run();
        progress::note(format!("{name}: {:.0} s", started.elapsed().as_secs_f64()));
        result.map_err(|error| Failed::from(format!("{error:?}")))
    })
}

/// Runs the stages one after the other, and finally `tear_down`.
pub fn run(
    runtime: &Runtime,
    stages: impl IntoIterator<Item = Stage>,
    tear_down: impl Future<Output = anyhow::Result<()>>,
) -> ExitCode {
    let arguments = Arguments::from_args();
    let most = arguments.test_threads.unwrap_or(usize::MAX);
    let mut failed = false;
    for Stage { at_once, trials } in stages {
        let arguments = Arguments { test_threads: Some(at_once.min(most)), ..arguments.clone() };
        failed |= libtest_mimic::run(&arguments, trials).has_failed();
    }
    if let Err(error) = runtime.block_on(tear_down).context("tearing down the cluster") {
        progress::note(format!("error: {error:#}"));
        failed = true;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
