//! Whether this agent can see the processes of its node at all.

use std::{fs, io, path::Path};

/// Why it cannot.
#[derive(Debug, thiserror::Error)]
pub enum Blind {
    /// `/proc` shows a PID namespace that we are not in, or is no procfs.
    #[error(
        "the agent's own process is not visible in {proc}; --proc has to be the proc file system of the host's PID namespace"
    )]
    NotOurs {
        /// Where it was looked for.
        proc: String,
        /// What reading it said.
        source: io::Error,
    },
    /// The agent is the first process of a namespace of its own.
    #[error("no host PID namespace: the agent is process 1 itself; its pod needs hostPID: true")]
    OwnNamespace,
    /// Other users' processes are hidden from us (`hidepid`, proc(5)).
    #[error("hidepid: {proc}/1 cannot be read; mount proc without hidepid, or give the agent its gid=")]
    Hidden {
        /// The file system.
        proc: String,
        /// What reading it said.
        source: io::Error,
    },
}

/// Looks whether `proc` shows us to ourselves and, for the others, the node's first process, which belongs to another user.
pub fn look(proc: &Path) -> Result<(), Blind> {
    let own = fs::read_link(proc.join("self"))
        .map_err(|source| Blind::NotOurs { proc: proc.display().to_string(), source })?;
    if own == Path::new("1") {
        return Err(Blind::OwnNamespace);
    }
    // hidepid=1 refuses the file, 2 and 4 hide the folder.
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
    fn with_the_host_s_processes_in_view_it_is_not_blind() {
        look(proc("4711").path()).expect("sees");
    }

    #[test]
    fn the_first_process_of_its_own_namespace_is_blind() {
        assert!(matches!(look(proc("1").path()), Err(Blind::OwnNamespace)));
    }

    #[test]
    fn hidepid_is_blind() {
        let proc = proc("4711");
        fs::remove_dir_all(proc.path().join("1")).expect("it is there");
        let blind = look(proc.path()).expect_err("hidden");
        assert!(blind.to_string().starts_with("hidepid: "), "{blind}");
    }

    #[test]
    fn a_proc_of_another_namespace_is_blind() {
        let proc = proc("4711");
        fs::remove_file(proc.path().join("self")).expect("it is there");
        assert!(matches!(look(proc.path()), Err(Blind::NotOurs { .. })));
    }
}
