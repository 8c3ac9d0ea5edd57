//! What the machine must have: root, namespaces and a few Debian packages, which are installed where they are missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::command::run;
use super::error::{ClusterError, Result};
use crate::progress;

/// A file or program (looked for in `PATH`) and the Debian package that brings it.
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

/// Where distributions put the CNI plugins, Debian's place first.
const CNI_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// The Debian package with the CNI plugins.
const CNI_PACKAGE: &str = "containernetworking-plugins";

/// What was found on the machine.
pub(super) struct Prerequisites {
    /// The folder with the CNI plugins.
    pub(super) cni: PathBuf,
}

/// Checks the machine and installs what is missing.
pub(super) fn ensure() -> Result<Prerequisites> {
    if !nix::unistd::geteuid().is_root() {
        return lacking("the test cluster makes namespaces, mounts and cgroups, which only root may: run this as root");
    }
    let missing = missing_packages();
    if !missing.is_empty() {
        install(&missing)?;
        let missing = missing_packages();
        if !missing.is_empty() {
            return lacking(format!("apt-get installed {missing:?}, but the programs in them are not there"));
        }
    }
    if let Err(error) =
        run(Command::new("unshare").args(["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "true"]))
    {
        return lacking(format!("the kernel or this container lets even root make no namespaces: {error}"));
    }
    match cni_folder() {
        Some(cni) => Ok(Prerequisites { cni }),
        None => lacking(format!("no CNI plugins in any of {CNI_FOLDERS:?}")),
    }
}

/// Installs the packages that are missing: what building images takes.
pub fn ensure_packages() -> Result<()> {
    ensure().map(drop)
}

/// The full path of a program.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Path::new(name).exists().then(|| name.into());
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn cni_folder() -> Option<PathBuf> {
    CNI_FOLDERS.map(PathBuf::from).into_iter().find(|folder| folder.join("bridge").exists())
}

fn missing_packages() -> Vec<&'static str> {
    let mut packages: Vec<_> =
        NEEDED.iter().filter(|(file, _)| program(file).is_none()).map(|(_, package)| *package).collect();
    if cni_folder().is_none() {
        packages.push(CNI_PACKAGE);
    }
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if program("apt-get").is_none() {
        return lacking(format!("the test cluster needs {list}, and there is no apt-get here to install them with"));
    }
    let step = progress::step(format!("installing {list}"));
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends"]] {
        let packages: &[&str] = if arguments[0] == "install" { packages } else { &[] };
        // A run level of 1 keeps packages from starting services of the system, such as a containerd of its own.
        run(Command::new("apt-get")
            .args(arguments)
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1"))
        .map_err(|error| ClusterError::Lacking(format!("the packages {list} cannot be installed: {error}")))?;
    }
    drop(step);
    Ok(())
}

fn lacking<T>(what: impl Into<String>) -> Result<T> {
    Err(ClusterError::Lacking(what.into()))
}
