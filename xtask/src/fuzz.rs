//! `cargo xtask fuzz`: coverage-guided fuzzing with libFuzzer and the stable compiler.
//!
//! The flags below are those of `cargo fuzz --sanitizer none`. Sanitizers find errors in unsafe code, which this project does not
//! have. Panics, broken laws and slow inputs are found without them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::command::{at_root, root, run};

/// The folder of the fuzz targets, which are a separate workspace.
const PACKAGE: &str = "inject/fuzz";

/// The instrumentation that guides libFuzzer (LLVM's `SanitizerCoverage`).
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// An explicit target, so that build scripts and macros are not instrumented.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The number of seconds after which an input counts as too slow. The largest input, of [`MAX_BYTES`], takes milliseconds.
const SLOW_SECONDS: u32 = 2;

/// The longest input, in bytes: a large pod.
const MAX_BYTES: u32 = 64 * 1024;

/// Fuzz the code that handles untrusted input
///
/// The target `patch` sends arbitrary bytes as Jobs and pods through admission, and finds panics, invalid patches and slow
/// inputs. A finding is stored below target/fuzz/crashes/.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cargo xtask fuzz patch --seconds 600")]
pub(crate) struct Args {
    /// The fuzz target: patch
    target: String,
    /// How many seconds to run
    #[arg(long, default_value_t = 60, value_name = "N")]
    pub(crate) seconds: u32,
}

impl Args {
    /// The settings of CI.
    pub(crate) fn brief() -> Self {
        Self { target: "patch".to_owned(), seconds: 20 }
    }
}

pub(crate) fn run_one(args: &Args) -> anyhow::Result<()> {
    let Args { target, seconds } = args;
    if !root().join(PACKAGE).join("src").join(target).with_extension("rs").exists() {
        bail!("unknown fuzz target {target:?}; the targets are the files in {PACKAGE}/src");
    }
    let build = root().join("target/fuzz");
    run(at_root("cargo")
        .args(["build", "--release", "--locked", "--target", TARGET, "--bin", target])
        .arg(format!("--manifest-path={PACKAGE}/Cargo.toml"))
        .arg("--target-dir")
        .arg(&build)
        .env("RUSTFLAGS", FLAGS))?;
    let (corpus, crashes) = (build.join("corpus").join(target), build.join("crashes").join(target));
    for folder in [&corpus, &crashes] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    seed(&corpus)?;
    let program = build.join(TARGET).join("release").join(target);
    let mut fuzzer = Command::new(&program);
    fuzzer
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={SLOW_SECONDS}"))
        .arg(format!("-max_len={MAX_BYTES}"))
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .args(["-print_final_stats=1", "-verbosity=1"])
        .arg(&corpus);
    run(&mut fuzzer).with_context(|| {
        format!(
            "fuzzing failed; the input is the newest file in {}; reproduce with `{} <file>`",
            crashes.display(),
            program.display()
        )
    })?;
    println!("fuzz {target}: no finding in {seconds} s");
    Ok(())
}

/// Fills the corpus with the objects of the golden files.
fn seed(corpus: &Path) -> anyhow::Result<()> {
    let golden = root().join("webhook/tests/golden");
    for entry in fs::read_dir(&golden).with_context(|| format!("reading {}", golden.display()))? {
        let shape: PathBuf = entry?.path();
        for (file, pointer) in [("request.json", "/request/object"), ("patched.json", "")] {
            let Ok(text) = fs::read_to_string(shape.join(file)) else { continue };
            let json: Value = serde_json::from_str(&text).with_context(|| format!("reading {}", shape.display()))?;
            let object = json.pointer(pointer).context("the request has no object")?.to_string();
            let name = format!("{}-{file}", shape.file_name().unwrap_or_default().to_string_lossy());
            if object.len() <= MAX_BYTES as usize {
                fs::write(corpus.join(name), object).context("writing the corpus")?;
            }
        }
    }
    Ok(())
}
