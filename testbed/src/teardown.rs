//! Removing a cluster completely, even one that was only partly created.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cgroup;
use crate::error::{ClusterError, Context, Result};
use crate::layout::{NETNS_ROOT, STATE_ROOT, is_namespace_of, state_of};
use crate::network::delete_namespace;
use crate::process::{self, NamespaceId, Process};

/// How long all processes of a cluster may take to end.
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);

/// Removes everything of the cluster called `name`, or what a killed run left of it.
///
/// The parts are found by the names of the namespaces and not by a record, because a run can be killed after it created
/// something and before it recorded that.
pub(crate) fn tear_down(name: &str) -> Result<()> {
    let namespaces = namespaces_of(name)?;
    kill_all(name, &namespaces)?;
    unmount_below(&state_of(name))?;
    for namespace in &namespaces {
        delete_namespace(namespace)?;
    }
    cgroup::remove_all_of(name)?;
    remove_state(&state_of(name))?;
    // This removes empty folders only. It is no error if other clusters have files there.
    let _ = fs::remove_dir(STATE_ROOT);
    let _ = fs::remove_dir(NETNS_ROOT);
    Ok(())
}

/// Whether anything of a cluster of this name exists.
pub(crate) fn exists(name: &str) -> bool {
    state_of(name).exists() || namespaces_of(name).is_ok_and(|namespaces| !namespaces.is_empty())
}

fn namespaces_of(name: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(NETNS_ROOT) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(|| format!("reading {NETNS_ROOT}")),
    };
    Ok(entries
        .filter_map(io::Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(|entry| is_namespace_of(name, entry)))
        .map(|entry| entry.path())
        .collect())
}

/// Kills the PID 1 of each machine first, which also ends most other processes, including pods.
fn kill_all(name: &str, namespaces: &[PathBuf]) -> Result<()> {
    for init in recorded_inits(name) {
        init.kill()?;
    }
    let ids: Vec<NamespaceId> = namespaces.iter().filter_map(|path| NamespaceId::of(path)).collect();
    let start = Instant::now();
    loop {
        let left: Vec<Process> = process::all()
            .into_iter()
            .filter(|process| process.namespace("net").is_some_and(|namespace| ids.contains(&namespace)))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        if start.elapsed() > EXIT_TIMEOUT {
            return Err(ClusterError::TimedOut {
                problem: format!("processes of cluster {name} are still running: {left:?}"),
                waited: EXIT_TIMEOUT,
                tail: String::new(),
            });
        }
        for process in left {
            process.kill()?;
        }
    }
}

fn recorded_inits(name: &str) -> Vec<Process> {
    let Ok(machines) = fs::read_dir(state_of(name)) else { return Vec::new() };
    machines
        .filter_map(|machine| serde_json::from_slice(&fs::read(machine.ok()?.path().join("init.json")).ok()?).ok())
        .collect()
}

/// Unmounts everything below `folder`, the innermost first.
fn unmount_below(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context(|| "reading /proc/self/mountinfo")?;
    // The fifth field is the mount point, `proc_pid_mountinfo(5)`.
    let mut points: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|point| point.starts_with(folder))
        .collect();
    points.reverse();
    for point in points {
        nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH)
            .context(|| format!("unmounting {}", point.display()))?;
    }
    Ok(())
}

fn remove_state(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}
