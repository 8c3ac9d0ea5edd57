//! Builds Kubernetes, etcd, CoreDNS and helm from their Go modules, once for each state of the sources.

use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::error::{ClusterError, Doing, Result};
use super::{images, prerequisites};
use crate::progress;

/// The version that Kubernetes is to say it has: without it `kubectl version` cannot parse its own.
const VERSION: &str = "v1.35.4";

/// What is built of the Go module in `tests/cluster/kubernetes`, all in one go so that shared packages compile once.
const PACKAGES: [&str; 3] = [".", "./coredns", "helm.sh/helm/v3/cmd/helm"];

/// What the build leaves.
const PROGRAMS: [&str; 3] = ["kubernetes", "coredns", "helm"];

/// What was built, below the workspace's target folder, so that it is kept from one run to the next.
#[derive(Clone, Debug)]
pub(super) struct Built {
    root: PathBuf,
}

impl Built {
    /// Where everything built for the cluster is or will be.
    pub(super) fn locate() -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
        Self { root: workspace().join(target).join("cluster") }
    }

    /// The folder with the programs.
    pub(super) fn programs(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The folder with the images that every cluster has, as OCI archives.
    pub(super) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The file that tells which state of the sources the programs were built from.
    pub(super) fn stamp(&self) -> PathBuf {
        self.root.join("bin.sha256")
    }

    /// Takes a lock that ends with this process; `None` if another process holds it and `wait` is false.
    pub(super) fn lock(&self, name: &str, wait: bool) -> Result<Option<Flock<fs::File>>> {
        fs::create_dir_all(&self.root).doing(|| format!("making {}", self.root.display()))?;
        let path = self.root.join(format!("{name}.lock"));
        let file = fs::File::create(&path).doing(|| format!("opening {}", path.display()))?;
        let how = if wait { FlockArg::LockExclusive } else { FlockArg::LockExclusiveNonblock };
        match Flock::lock(file, how) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).doing(|| format!("locking {}", path.display())),
        }
    }

    /// Builds whatever is missing or older than its sources.
    pub(super) fn ensure(&self) -> Result<()> {
        let _lock = self.lock("build", true)?;
        self.ensure_programs()?;
        images::ensure(self)
    }

    /// Builds the programs alone, which takes no root; the caller holds the lock.
    fn ensure_programs(&self) -> Result<()> {
        let stamp = self.stamp();
        let digest = digest_of(&sources()?)?;
        let complete = PROGRAMS.iter().all(|program| self.programs().join(program).exists());
        if !complete || fs::read_to_string(&stamp).ok().as_deref() != Some(&digest) {
            self.build()?;
            fs::write(&stamp, &digest).doing(|| format!("writing {}", stamp.display()))?;
        }
        Ok(())
    }

    fn build(&self) -> Result<()> {
        if prerequisites::program("go").is_none() {
            return Err(ClusterError::Lacking(
                "the test cluster's Kubernetes is built from source, for which Go 1.25 or later has to be in PATH"
                    .into(),
            ));
        }
        let step = progress::step("building Kubernetes (about 10 minutes the first time)");
        let mut command = Command::new("go");
        command
            .current_dir(module())
            .env("CGO_ENABLED", "0")
            .args(["build", "-v", "-trimpath", "-ldflags", &linker_flags(), "-o"])
            // The trailing slash makes it a folder.
            .arg(format!("{}/", self.programs().display()))
            .args(PACKAGES)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        fs::create_dir_all(self.programs()).doing(|| format!("making {}", self.programs().display()))?;
        let mut child = command.spawn().doing(|| "starting go")?;
        let stderr = child.stderr.take().expect("stderr was asked to be a pipe above");
        let mut lines: Vec<String> = Vec::new();
        for line in BufReader::new(stderr).lines().map_while(std::io::Result::ok) {
            lines.push(line);
            // With -v every package that is compiled is a line.
            step.detail(format!("{} packages", lines.len()));
        }
        let status = child.wait().doing(|| "waiting for go")?;
        if status.success() {
            return Ok(());
        }
        let errors = lines.split_off(lines.len().saturating_sub(20));
        Err(ClusterError::Command { command: "go build".into(), status: status.to_string(), output: errors.join("\n") })
    }
}

/// The path of `helm`, built if need be, for what it does without a cluster.
pub fn helm() -> Result<PathBuf> {
    let built = Built::locate();
    let _lock = built.lock("build", true)?;
    built.ensure_programs()?;
    Ok(built.programs().join("helm"))
}

/// A digest of the contents and names of files, for telling whether something has to be built again.
pub(super) fn digest_of(files: &[PathBuf]) -> Result<String> {
    let mut hash = Sha256::new();
    for file in files {
        let content = fs::read(file).doing(|| format!("reading {}", file.display()))?;
        hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    hash.update(linker_flags());
    let mut text = String::new();
    for byte in hash.finalize() {
        write!(text, "{byte:02x}").expect("a String takes all that is written to it");
    }
    Ok(text)
}

/// The folder of the test cluster's own sources.
pub(super) fn sources_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster")
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace").to_owned()
}

fn module() -> PathBuf {
    sources_folder().join("kubernetes")
}

fn sources() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in [module(), module().join("coredns")] {
        let entries = fs::read_dir(&folder).doing(|| format!("reading {}", folder.display()))?;
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
            path.extension().is_some_and(|extension| ["go", "mod", "sum"].iter().any(|known| extension == *known))
        }));
    }
    files.sort();
    Ok(files)
}

fn linker_flags() -> String {
    let mut flags = "-s -w ".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        write!(flags, " -X {package}.gitVersion={VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor=35")
            .expect("a String takes all that is written to it");
    }
    flags
}
