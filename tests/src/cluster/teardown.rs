//! Removing a cluster, whole or half made, so that nothing of it stays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cgroup;
use super::error::{ClusterError, Doing, Result};
use super::layout::{NETNS_ROOT, STATE_ROOT, is_namespace_of, state_of};
use super::network::delete_namespace;
use super::process::{self, NamespaceId, Process};

/// How long all processes of a cluster may take to end.
const DEATH: Duration = Duration::from_secs(20);

/// Removes all that the cluster called `name` consists of, or what a run that was killed left of it.
///
/// What belongs to it is found by the names of its namespaces and not by what was recorded, since a run can be killed
/// between doing a thing and recording it.
pub(super) fn tear_down(name: &str) -> Result<()> {
    let namespaces = namespaces_of(name)?;
    kill_all(name, &namespaces)?;
    unmount_below(&state_of(name))?;
    for namespace in &namespaces {
        delete_namespace(namespace)?;
    }
    cgroup::remove_all_of(name)?;
    remove_state(&state_of(name))?;
    // Both are removed only when empty; that they hold another cluster's files is no error.
    let _ = fs::remove_dir(STATE_ROOT);
    let _ = fs::remove_dir(NETNS_ROOT);
    Ok(())
}

/// Whether there is anything of a cluster of this name.
pub(super) fn exists(name: &str) -> bool {
    state_of(name).exists() || namespaces_of(name).is_ok_and(|namespaces| !namespaces.is_empty())
}

fn namespaces_of(name: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(NETNS_ROOT) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).doing(|| format!("reading {NETNS_ROOT}")),
    };
    Ok(entries
        .filter_map(io::Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(|entry| is_namespace_of(name, entry)))
        .map(|entry| entry.path())
        .collect())
}

/// Kills the PID 1 of each machine first, which ends most of the rest at once, pods included.
fn kill_all(name: &str, namespaces: &[PathBuf]) -> Result<()> {
    for init in recorded_inits(name) {
        init.kill()?;
    }
    let ids: Vec<NamespaceId> = namespaces.iter().filter_map(|path| NamespaceId::of(path)).collect();
    let begun = Instant::now();
    loop {
        let left: Vec<Process> = process::all()
            .into_iter()
            .filter(|process| process.namespace("net").is_some_and(|namespace| ids.contains(&namespace)))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > DEATH {
            return Err(ClusterError::TimedOut {
                what: format!("processes of cluster {name} still run: {left:?}"),
                waited: DEATH,
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

/// Unmounts what lies below `folder`, the innermost first.
fn unmount_below(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").doing(|| "reading /proc/self/mountinfo")?;
    // The fifth field of `proc_pid_mountinfo(5)` is where it is mounted.
    let mut points: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|point| point.starts_with(folder))
        .collect();
    points.reverse();
    for point in points {
        nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH)
            .doing(|| format!("unmounting {}", point.display()))?;
    }
    Ok(())
}

fn remove_state(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}
