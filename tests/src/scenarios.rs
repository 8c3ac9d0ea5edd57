//! Running end-to-end tests that share one cluster. Each test is a scenario: a function whose name is the claim it checks.

use std::process::ExitCode;

use anyhow::Context as _;
use jobwarden_testbed::progress;
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
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

/// One test.
pub fn trial(name: &str, run: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || run().map_err(|error| Failed::from(format!("{error:?}"))))
}

/// Runs the tests of `concurrent`, `threads` at a time unless the command line sets another number, then those of `serial`
/// one after the other, and finally `tear_down`.
pub fn run(
    runtime: &Runtime,
    threads: usize,
    concurrent: Vec<Trial>,
    serial: Vec<Trial>,
    tear_down: impl Future<Output = anyhow::Result<()>>,
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(threads);
    let conclusions = [
        libtest_mimic::run(&arguments, concurrent),
        libtest_mimic::run(&Arguments { test_threads: Some(1), ..arguments }, serial),
    ];
    let torn_down = runtime.block_on(tear_down).context("tearing down the cluster");
    if let Err(error) = &torn_down {
        progress::note(format!("error: {error:#}"));
    }
    let failed = conclusions.iter().any(Conclusion::has_failed) || torn_down.is_err();
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
