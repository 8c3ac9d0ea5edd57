//! What the machine needs: root, namespaces and a few Debian packages, which are installed if they are missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run;
use crate::error::{ClusterError, Result};
use crate::progress;

/// A file or a program in `PATH`, and the Debian package that contains it.
const NEEDED: [(&str, &str); 12] = [
    ("buildah", "buildah"),
    ("conntrack", "conntrack"),
    ("containerd", "containerd"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("musl-gcc", "musl-tools"),
    ("nsenter", "util-linux"),
    ("runc", "runc"),
    ("tini", "tini"),
    ("/bin/busybox", "busybox-static"),
    ("setsid", "util-linux"),
    ("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
];

/// Where distributions install the CNI plugins, Debian's folder first.
const CNI_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// The Debian package with the CNI plugins.
const CNI_PACKAGE: &str = "containernetworking-plugins";

/// What exists on the machine.
pub(crate) struct Prerequisites {
    /// The folder with the CNI plugins.
    pub(crate) cni: PathBuf,
}

/// Checks the machine and installs what is missing.
pub(crate) fn ensure() -> Result<Prerequisites> {
    if !nix::unistd::geteuid().is_root() {
        return missing_prerequisite("a cluster needs root to create namespaces, mounts and cgroups: run this as root");
    }
    install_missing(missing_packages)?;
    if let Err(error) =
        run(Command::new("unshare").args(["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "true"]))
    {
        return missing_prerequisite(format!(
            "root cannot create namespaces on this kernel or in this container: {error}"
        ));
    }
    match cni_folder() {
        Some(cni) => Ok(Prerequisites { cni }),
        None => missing_prerequisite(format!("found no CNI plugins in any of {CNI_FOLDERS:?}")),
    }
}

/// Installs missing packages, for callers that only build images.
pub fn ensure_packages() -> Result<()> {
    ensure().map(drop)
}

/// Installs the Debian packages of those programs that are missing. `programs` has the name of each and that of its package.
pub fn ensure_programs(programs: &[(&str, &'static str)]) -> Result<()> {
    install_missing(|| packages_of(programs))
}

/// The full path of a program.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Path::new(name).exists().then(|| name.into());
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn cni_folder() -> Option<PathBuf> {
    CNI_FOLDERS.map(PathBuf::from).into_iter().find(|folder| folder.join("bridge").exists())
}

fn missing_packages() -> Vec<&'static str> {
    let mut packages = packages_of(&NEEDED);
    if cni_folder().is_none() {
        packages.push(CNI_PACKAGE);
    }
    packages
}

/// The packages of the programs that are missing.
fn packages_of(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    let missing = programs.iter().filter(|(file, _)| program(file).is_none());
    let mut packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Installs the packages that are missing, and fails if their programs still are.
fn install_missing(missing: impl Fn() -> Vec<&'static str>) -> Result<()> {
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    install(&packages)?;
    match &*missing() {
        [] => Ok(()),
        missing => missing_prerequisite(format!("apt-get installed {missing:?}, but their programs are still missing")),
    }
}

fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if program("apt-get").is_none() {
        return missing_prerequisite(format!(
            "{list} are needed: install them, because there is no apt-get on this machine"
        ));
    }
    let step = progress::step(format!("installing {list}"));
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends"]] {
        let packages: &[&str] = if arguments[0] == "install" { packages } else { &[] };
        // With run level 1 the packages start no system services, such as a second containerd.
        run(Command::new("apt-get")
            .args(arguments)
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1"))
        .map_err(|error| ClusterError::MissingPrerequisite(format!("cannot install the packages {list}: {error}")))?;
    }
    drop(step);
    Ok(())
}

fn missing_prerequisite<T>(message: impl Into<String>) -> Result<T> {
    Err(ClusterError::MissingPrerequisite(message.into()))
}
