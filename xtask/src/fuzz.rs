//! `cargo xtask fuzz`: coverage-guided fuzzing with libFuzzer and the stable compiler.
//!
//! The flags below are those of `cargo fuzz --sanitizer none`. Sanitizers find errors in unsafe code, which this project does not
//! have. Panics, broken laws and slow inputs are found without them.

mod summary;

use std::{
    fs::{self, File},
    num::NonZero,
    panic::resume_unwind,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, bail, ensure};
use jobwarden_testbed::progress;
use serde_json::Value;

use self::summary::Summary;
use crate::command::{at_root, root, run};

/// The folder of the fuzz targets, which are a separate workspace.
const PACKAGE: &str = "fuzz";

/// The folder of the seeds, one folder for each target.
const SEEDS: &str = "fuzz/corpus";

/// The instrumentation that guides libFuzzer (LLVM's `SanitizerCoverage`).
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// An explicit target, so that build scripts and macros are not instrumented.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The number of seconds after which an input counts as too slow. The largest input, of [`MAX_BYTES`], takes milliseconds; a machine with
/// other work needs longer.
const SLOW_SECONDS: u32 = 5;

/// The longest input, in bytes: a large pod.
const MAX_BYTES: u32 = 64 * 1024;

/// Fuzz the code that handles untrusted input
///
/// Each target sends arbitrary bytes through one kind of what others write, and finds panics, broken laws and slow inputs. A finding
/// is stored below target/fuzz/crashes/, and what a target has learned below target/fuzz/corpus/.
#[derive(clap::Args)]
#[command(after_help = "\
Targets:
  event     requests to a receiver of notifications
  identity  JSON pointers and regular expressions, on values of tenants
  intake    bodies of beats and of agents' reports
  logs      logs of workers, for notifications
  objects   Jobs, pods, nodes, Leases and namespaces as the watches deliver them
  patch     Jobs and pods in admission
  policy    the configuration file, and the annotations of namespaces and Jobs
  proc      cgroup, stat and status files below /proc
  review    bodies of admission requests
  token     tokens and the API server's keys

Examples:
  cargo xtask fuzz token --seconds 600
  cargo xtask fuzz --all --seconds 60")]
pub(crate) struct Args {
    /// The fuzz target
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    target: Option<String>,
    /// All targets, as many at once as the machine has processors
    #[arg(long)]
    all: bool,
    /// How many seconds to run each target
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
}

impl Args {
    /// The settings of CI.
    pub(crate) fn brief() -> Self {
        Self { target: None, all: true, seconds: 20 }
    }
}

/// Runs the targets, and says of each what it did. A finding does not keep the others from running.
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    let Args { target, all: _, seconds } = args;
    let known = targets()?;
    let chosen = match target {
        None => known,
        Some(target) if known.contains(target) => vec![target.clone()],
        Some(target) => bail!("unknown fuzz target {target:?}; the targets are {}", known.join(", ")),
    };
    build(&chosen)?;
    let mut findings = Vec::new();
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    // Every target runs for as long as the others, so that batches leave no processor without work.
    for targets in chosen.chunks(at_once) {
        let summaries: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = targets.iter().map(|target| scope.spawn(|| fuzz(target, *seconds))).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        for (target, summary) in targets.iter().zip(summaries) {
            let summary = summary?;
            println!("fuzz {target:<8} {summary}");
            findings.extend(summary.finding.map(|finding| format!("{target}: {finding}")));
        }
    }
    ensure!(findings.is_empty(), "fuzzing found something:\n{}", findings.join("\n"));
    Ok(())
}

/// The targets: the files in the folder `src` of [`PACKAGE`].
fn targets() -> anyhow::Result<Vec<String>> {
    let folder = root().join(PACKAGE).join("src");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            targets.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    targets.sort_unstable();
    Ok(targets)
}

fn folder() -> PathBuf {
    root().join("target/fuzz")
}

fn build(targets: &[String]) -> anyhow::Result<()> {
    let _step = progress::step(format!("compiling the fuzz targets {}", targets.join(", ")));
    run(at_root("cargo")
        .args(["build", "--quiet", "--release", "--locked", "--target", TARGET])
        .args(targets.iter().flat_map(|target| ["--bin", target]))
        .arg(format!("--manifest-path={PACKAGE}/Cargo.toml"))
        .arg("--target-dir")
        .arg(folder())
        .env("RUSTFLAGS", FLAGS))
}

/// Runs one target. What it writes goes to a file, which is shown if it ends with an error.
fn fuzz(target: &str, seconds: u32) -> anyhow::Result<Summary> {
    let [corpus, crashes] = ["corpus", "crashes"].map(|name| folder().join(name).join(target));
    for folder in [&corpus, &crashes] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    seed(target, &corpus)?;
    let program = folder().join(TARGET).join("release").join(target);
    let log = folder().join(target).with_extension("log");
    let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    // In memory where that is possible: a target may write files for each input.
    let memory = Path::new("/dev/shm");
    let scratch = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let scratch = scratch.context("creating a folder for temporary files")?;

    let mut fuzzer = Command::new(&program);
    fuzzer
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={SLOW_SECONDS}"))
        .arg(format!("-max_len={MAX_BYTES}"))
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .args(["-print_final_stats=1", "-verbosity=1"])
        // New inputs go to the first folder.
        .arg(&corpus)
        .args(Some(root().join(SEEDS).join(target)).filter(|seeds| seeds.is_dir()))
        .env("TMPDIR", scratch.path())
        .stderr(output);
    let status = fuzzer.status().with_context(|| format!("starting {}", program.display()))?;
    let written = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
    let written = String::from_utf8_lossy(&written);
    let mut summary = Summary::of(&written, seconds);
    if !status.success() {
        eprintln!("{}", summary::end_of(&written));
        let reproduce = format!("reproduce with `{} <the newest file in {}>`", program.display(), crashes.display());
        summary.finding = Some(reproduce);
    }
    Ok(summary)
}

/// Fills the corpus of the targets that read what the API server sends to admission with the golden files.
fn seed(target: &str, corpus: &Path) -> anyhow::Result<()> {
    let parts: &[(&str, &str)] = match target {
        "patch" => &[("request.json", "/request/object"), ("patched.json", "")],
        "review" => &[("request.json", "")],
        _ => return Ok(()),
    };
    let golden = root().join("webhook/tests/golden");
    for entry in fs::read_dir(&golden).with_context(|| format!("reading {}", golden.display()))? {
        let shape: PathBuf = entry?.path();
        for (file, pointer) in parts {
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
