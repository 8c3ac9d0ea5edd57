//! Whether the processes of the node are visible to this agent.

use std::{fs, io, path::Path};

/// Why they are not.
#[derive(Debug, thiserror::Error)]
pub enum Blind {
    /// `/proc` belongs to another PID namespace, or is not a procfs.
    #[error(
        "the agent's own process is not visible in {proc}; set --proc to the proc file system of the host's PID namespace"
    )]
    NotOurs {
        /// The file system.
        proc: String,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// The agent is process 1, so it runs in a PID namespace of its own.
    #[error("not in the host's PID namespace: the agent is process 1; set hostPID: true in its pod")]
    OwnNamespace,
    /// The processes of other users are hidden (`hidepid`, proc(5)).
    #[error("hidepid: {proc}/1 cannot be read; mount proc without hidepid, or add the agent to the group of gid=")]
    Hidden {
        /// The file system.
        proc: String,
        /// Why it cannot be read.
        source: io::Error,
    },
}

/// Checks that `proc` shows this process and process 1 of the node, which belongs to another user.
pub fn check(proc: &Path) -> Result<(), Blind> {
    let own = fs::read_link(proc.join("self"))
        .map_err(|source| Blind::NotOurs { proc: proc.display().to_string(), source })?;
    if own == Path::new("1") {
        return Err(Blind::OwnNamespace);
    }
    // hidepid=1 denies access to the file, 2 and 4 hide the folder.
    fs::read(proc.join("1/cgroup")).map_err(|source| Blind::Hidden { proc: proc.display().to_string(), source })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn proc(own: &str) -> tempfile::TempDir {
        let proc = tempfile::tempdir().expect("a place for files");
        fs::create_dir(proc.path().join("1")).expect("a fresh folder");
        fs::write(proc.path().join("1/cgroup"), "0::/init.scope\n").expect("a fresh file");
        symlink(own, proc.path().join("self")).expect("a fresh link");
        proc
    }

    #[test]
    fn the_processes_of_the_host_are_visible() {
        check(proc("4711").path()).expect("visible");
    }

    #[test]
    fn process_1_is_blind() {
        assert!(matches!(check(proc("1").path()), Err(Blind::OwnNamespace)));
    }

    #[test]
    fn hidepid_is_blind() {
        let proc = proc("4711");
        fs::remove_dir_all(proc.path().join("1")).expect("it exists");
        let blind = check(proc.path()).expect_err("hidden");
        assert!(blind.to_string().starts_with("hidepid: "), "{blind}");
    }

    #[test]
    fn a_proc_of_another_pid_namespace_is_blind() {
        let proc = proc("4711");
        fs::remove_file(proc.path().join("self")).expect("it exists");
        assert!(matches!(check(proc.path()), Err(Blind::NotOurs { .. })));
    }
}
