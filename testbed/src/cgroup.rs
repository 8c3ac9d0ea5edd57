//! The cgroup that each node has in every hierarchy. The kubelet creates the pods' cgroups below it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Context, Result};
use crate::layout::is_namespace_of;

/// How long the kernel may take to remove killed processes from a cgroup.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(10);

/// The controllers that the kubelet needs on cgroup v2.
const V2_CONTROLLERS: &str = "+cpuset +cpu +io +memory +pids";

/// A mounted cgroup hierarchy.
struct Hierarchy {
    mount: PathBuf,
    v2: bool,
}

/// Creates the cgroup `name` in every hierarchy that the kubelet uses.
pub(crate) fn create(name: &str) -> Result<()> {
    let hierarchies = hierarchies()?;
    let hybrid = hierarchies.iter().any(|h| !h.v2);
    for Hierarchy { mount, v2 } in hierarchies {
        if v2 && hybrid {
            continue;
        }
        if v2 {
            let file = mount.join("cgroup.subtree_control");
            fs::write(&file, V2_CONTROLLERS).context(|| format!("enabling controllers in {}", file.display()))?;
        }
        let group = mount.join(name);
        fs::create_dir_all(&group).context(|| format!("creating cgroup {}", group.display()))?;
        // On v1 a new cpuset is empty, and no process can enter it until it has CPUs and memory nodes.
        for setting in ["cpuset.cpus", "cpuset.mems"] {
            if !v2 && group.join(setting).exists() {
                fs::read(mount.join(setting))
                    .and_then(|value| fs::write(group.join(setting), value))
                    .context(|| format!("setting {setting} of {}", group.display()))?;
            }
        }
    }
    Ok(())
}

/// Removes the cgroup `name` and everything below it from every hierarchy.
pub(crate) fn remove(name: &str) -> Result<()> {
    for Hierarchy { mount, .. } in hierarchies()? {
        remove_tree(&mount.join(name))?;
    }
    Ok(())
}

/// Removes every cgroup of the cluster called `cluster`.
pub(crate) fn remove_all_of(cluster: &str) -> Result<()> {
    for Hierarchy { mount, .. } in hierarchies()? {
        let Ok(entries) = fs::read_dir(&mount) else { continue };
        for entry in entries.filter_map(io::Result::ok) {
            if entry.file_name().to_str().is_some_and(|name| is_namespace_of(cluster, name)) {
                remove_tree(&entry.path())?;
            }
        }
    }
    Ok(())
}

/// The host's process IDs in the cgroup of the container `container_id`, below the cgroup `node`.
pub(crate) fn processes_of_container(node: &str, container_id: &str) -> Result<Vec<i32>> {
    for Hierarchy { mount, .. } in hierarchies()? {
        if let Some(group) = find(&mount.join(node), container_id) {
            let file = group.join("cgroup.procs");
            let text = fs::read_to_string(&file).context(|| format!("reading {}", file.display()))?;
            let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
            if !pids.is_empty() {
                return Ok(pids);
            }
        }
    }
    Ok(Vec::new())
}

/// The files `cgroup.procs` of all cgroups that the process `pid` is in. A process that writes its ID there joins them, and gets the share
/// of processors and memory that the others in them have.
///
/// # Errors
/// The process does not exist, or a file of the kernel cannot be read.
pub fn cgroups_of(pid: i32) -> Result<Vec<PathBuf>> {
    let file = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&file).context(|| format!("reading {file}"))?;
    // Lines of cgroups(7): the hierarchy's number, its controllers, and the path below its mount.
    let paths: BTreeSet<_> =
        text.lines().filter_map(|line| Some(line.splitn(3, ':').nth(2)?.trim_start_matches('/'))).collect();
    let files = hierarchies()?
        .into_iter()
        .flat_map(|Hierarchy { mount, .. }| paths.iter().map(move |path| mount.join(path).join("cgroup.procs")));
    let pid = pid.to_string();
    Ok(files.filter(|file| fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line == pid))).collect())
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context(|| "reading /proc/self/mounts")?;
    Ok(mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, mount, kind) = (fields.next()?, fields.next()?, fields.next()?);
            matches!(kind, "cgroup" | "cgroup2").then(|| Hierarchy { mount: mount.into(), v2: kind == "cgroup2" })
        })
        .collect())
}

/// The cgroup below `root` whose name contains `container_id`.
fn find(root: &Path, container_id: &str) -> Option<PathBuf> {
    let folders = || fs::read_dir(root).ok().into_iter().flatten().filter_map(io::Result::ok);
    folders()
        .find(|entry| entry.file_name().to_string_lossy().contains(container_id))
        .map(|entry| entry.path())
        .or_else(|| {
            folders().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).find_map(|e| find(&e.path(), container_id))
        })
}

/// Removes a cgroup after those below it. The kernel refuses while a killed process has not ended yet.
fn remove_tree(group: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(group) else { return Ok(()) };
    for entry in entries.filter_map(io::Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    let start = Instant::now();
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && start.elapsed() < EMPTY_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context(|| format!("removing cgroup {}", group.display()));
            }
            _ => return Ok(()),
        }
    }
}
