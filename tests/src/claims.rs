//! End-to-end tests that stand on one cluster: each a claim, and the function of the same name that tries it.

use std::process::ExitCode;

use anyhow::Context as _;
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use tokio::runtime::Runtime;

use crate::progress;

/// Tests of `$bed`, which is shared and has a `runtime()`.
#[macro_export]
macro_rules! claims {
    ($bed:expr, $($module:ident::$claim:ident),* $(,)?) => {
        vec![$({
            let bed = ::std::sync::Arc::clone($bed);
            $crate::claims::trial(stringify!($claim), move || bed.runtime().block_on($module::$claim(&bed)))
        }),*]
    };
}

/// One test.
pub fn trial(name: &str, run: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || run().map_err(|error| Failed::from(format!("{error:?}"))))
}

/// Runs `side_by_side`, so many at a time unless the command line says otherwise, then `last` one after the other, and `end`s
/// what they stood on.
pub fn run(
    runtime: &Runtime,
    at_once: usize,
    side_by_side: Vec<Trial>,
    last: Vec<Trial>,
    end: impl Future<Output = anyhow::Result<()>>,
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(at_once);
    let conclusions = [
        libtest_mimic::run(&arguments, side_by_side),
        libtest_mimic::run(&Arguments { test_threads: Some(1), ..arguments }, last),
    ];
    let ended = runtime.block_on(end).context("ending the cluster");
    if let Err(error) = &ended {
        progress::note(format!("error: {error:#}"));
    }
    let failed = conclusions.iter().any(Conclusion::has_failed) || ended.is_err();
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
