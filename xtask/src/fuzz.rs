//! `cargo xtask fuzz`: coverage-guided fuzzing with libFuzzer, by the stable compiler.
//!
//! The flags below are those that `cargo fuzz --sanitizer none` gives. A sanitizer would find unsafe code at fault, of which ours
//! has none; panics, broken laws and slow inputs are found without.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::command::{at_root, root, run};

/// The folder of the fuzz targets' own workspace.
const PACKAGE: &str = "inject/fuzz";

/// Instrumentation that libFuzzer steers by (LLVM's `SanitizerCoverage`).
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Named, so that build scripts and macros are not instrumented.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Seconds after which one input counts as too slow. The largest, of [`MAX_BYTES`], takes milliseconds.
const SLOW_SECONDS: u32 = 2;

/// The longest input, in bytes: a large pod.
const MAX_BYTES: u32 = 64 * 1024;

/// Fuzz a target; `patch`: any bytes as Job and pod, through admission
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which one
    target: String,
    /// For how long
    #[arg(long, default_value_t = 60, value_name = "N")]
    pub(crate) seconds: u32,
}

impl Args {
    /// What CI runs.
    pub(crate) fn brief() -> Self {
        Self { target: "patch".to_owned(), seconds: 20 }
    }
}

pub(crate) fn run_one(args: &Args) -> anyhow::Result<()> {
    let Args { target, seconds } = args;
    if !root().join(PACKAGE).join("src").join(target).with_extension("rs").exists() {
        bail!("there is no fuzz target {target:?}; each is a file in {PACKAGE}/src");
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
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
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
            "the fuzzer has found something: the input is the newest file in {}; `{} <file>` tries it again",
            crashes.display(),
            program.display()
        )
    })?;
    println!("fuzz {target}: clean for {seconds} s");
    Ok(())
}

/// Begins from the recorded shapes: their objects, without the reviews around them.
fn seed(corpus: &Path) -> anyhow::Result<()> {
    let golden = root().join("webhook/tests/golden");
    for entry in fs::read_dir(&golden).with_context(|| format!("reading {}", golden.display()))? {
        let shape: PathBuf = entry?.path();
        for (file, pointer) in [("request.json", "/request/object"), ("patched.json", "")] {
            let Ok(text) = fs::read_to_string(shape.join(file)) else { continue };
            let json: Value = serde_json::from_str(&text).with_context(|| format!("reading {}", shape.display()))?;
            let object = json.pointer(pointer).context("a request without an object")?.to_string();
            let name = format!("{}-{file}", shape.file_name().unwrap_or_default().to_string_lossy());
            if object.len() <= MAX_BYTES as usize {
                fs::write(corpus.join(name), object).context("writing the corpus")?;
            }
        }
    }
    Ok(())
}
