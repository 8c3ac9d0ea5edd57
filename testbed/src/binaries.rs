//! Builds Kubernetes, etcd, CoreDNS and helm from their Go modules, once for each state of the sources.

use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::build_cache::{BuildCache, digest_of, sources_folder};
use crate::error::{ClusterError, Context, Result};
use crate::{prerequisites, progress};

/// The version that Kubernetes reports. Without one, `kubectl version` cannot parse its own version.
const VERSION: &str = "v1.35.4";

/// The packages to build of the Go module in `kubernetes/`. One build compiles the packages they share only once.
const PACKAGES: [&str; 3] = [".", "./coredns", "helm.sh/helm/v3/cmd/helm"];

/// The programs that the build produces.
const PROGRAMS: [&str; 3] = ["kubernetes", "coredns", "helm"];

/// The path of `helm`, built if necessary, for commands that need no cluster.
pub fn helm() -> Result<PathBuf> {
    let cache = BuildCache::locate();
    let _lock = cache.lock("build", true)?;
    ensure(&cache)?;
    Ok(cache.programs().join("helm"))
}

/// Builds the programs if they are missing or older than their sources. Needs no root. The caller holds the build lock.
pub(crate) fn ensure(cache: &BuildCache) -> Result<()> {
    let stamp = cache.stamp();
    let digest = digest_of(&sources()?, &linker_flags())?;
    let complete = PROGRAMS.iter().all(|program| cache.programs().join(program).exists());
    if !complete || fs::read_to_string(&stamp).ok().as_deref() != Some(&digest) {
        build(cache)?;
        fs::write(&stamp, &digest).context(|| format!("writing {}", stamp.display()))?;
    }
    Ok(())
}

fn build(cache: &BuildCache) -> Result<()> {
    if prerequisites::program("go").is_none() {
        return Err(ClusterError::MissingPrerequisite(
            "Kubernetes is built from source: install Go 1.25 or later and put it in PATH".into(),
        ));
    }
    let step = progress::step("building Kubernetes (about 10 minutes the first time)");
    let mut command = Command::new("go");
    command
        .current_dir(module())
        .env("CGO_ENABLED", "0")
        .args(["build", "-v", "-trimpath", "-ldflags", &linker_flags(), "-o"])
        // The trailing slash makes it a folder.
        .arg(format!("{}/", cache.programs().display()))
        .args(PACKAGES)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    fs::create_dir_all(cache.programs()).context(|| format!("creating {}", cache.programs().display()))?;
    let mut child = command.spawn().context(|| "starting go")?;
    let stderr = child.stderr.take().expect("stderr is a pipe, see above");
    let mut lines: Vec<String> = Vec::new();
    for line in BufReader::new(stderr).lines().map_while(std::io::Result::ok) {
        lines.push(line);
        // With -v, go writes one line for each package it compiles.
        step.detail(format!("{} packages", lines.len()));
    }
    let status = child.wait().context(|| "waiting for go")?;
    if status.success() {
        return Ok(());
    }
    let errors = lines.split_off(lines.len().saturating_sub(20));
    Err(ClusterError::Command { command: "go build".into(), status: status.to_string(), output: errors.join("\n") })
}

fn module() -> PathBuf {
    sources_folder().join("kubernetes")
}

fn sources() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in [module(), module().join("coredns")] {
        let entries = fs::read_dir(&folder).context(|| format!("reading {}", folder.display()))?;
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
            path.extension().is_some_and(|extension| ["go", "mod", "sum"].iter().any(|known| extension == *known))
        }));
    }
    files.sort();
    Ok(files)
}

/// Also part of the digests of images, so that a new version of Kubernetes rebuilds those as well.
pub(crate) fn linker_flags() -> String {
    let mut flags = "-s -w ".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        write!(flags, " -X {package}.gitVersion={VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor=35")
            .expect("writing to a String cannot fail");
    }
    flags
}
