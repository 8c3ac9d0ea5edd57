//! The sidecar as a process, started as the kubelet would.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use jobwarden_common::names::sidecar_env as env;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use crate::{authority::SERVER_NAME, soon};

/// A running sidecar. It is killed when it is dropped.
pub(crate) struct Sidecar {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    token_dir: tempfile::TempDir,
}

/// How a sidecar ended.
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    /// From the signal to the exit.
    pub(crate) took: Duration,
    /// Everything it wrote to stderr and nobody read before.
    pub(crate) log: String,
}

/// `VmRSS` and `RssAnon` of `/proc/<pid>/status`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) rss_kib: u64,
    pub(crate) anonymous_kib: u64,
}

impl Sidecar {
    /// Starts one that beats to `address` and trusts `ca`.
    pub(crate) fn start(address: SocketAddr, ca: String) -> Self {
        Self::start_with(&[
            (env::REAPER_ADDRESS, address.to_string()),
            (env::REAPER_NAME, SERVER_NAME.to_owned()),
            (env::CA, ca),
        ])
    }

    /// Starts one with these variables and no others, but for the token file.
    pub(crate) fn start_with(variables: &[(&str, String)]) -> Self {
        let token_dir = tempfile::tempdir().expect("a temporary directory");
        // The same claims can be made of the binary in the image: the static one, built for size.
        let binary = std::env::var_os("JOBWARDEN_TEST_SIDECAR")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_jobwarden-sidecar")), PathBuf::from);
        std::fs::write(token_dir.path().join("token"), "first-token").expect("writable");
        let mut child = Command::new(binary)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env(env::INTERVAL_MS, "1")
            .env(env::TOKEN_FILE, token_dir.path().join("token"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the sidecar starts");
        let log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        Self { child, log, token_dir }
    }

    /// Puts another token where the sidecar looks, as the kubelet does: in one step.
    pub(crate) fn renew_token(&self, token: &str) {
        let new = self.token_dir.path().join("new");
        std::fs::write(&new, token).expect("writable");
        std::fs::rename(new, self.token_dir.path().join("token")).expect("writable");
    }

    /// Asks it to end, as the kubelet does.
    pub(crate) fn terminate(&self) -> Instant {
        let pid = self.child.id().expect("it runs still");
        kill(Pid::from_raw(pid.try_into().expect("a PID")), Signal::SIGTERM).expect("it is ours");
        Instant::now()
    }

    /// The next line it writes to stderr.
    pub(crate) async fn log_line(&mut self) -> String {
        soon(self.log.next_line()).await.expect("UTF-8").expect("it runs still")
    }

    /// Asks it to end and waits until it has.
    pub(crate) async fn end(self) -> End {
        let asked = self.terminate();
        self.end_since(asked).await
    }

    /// Waits for its end after [`Self::terminate`].
    pub(crate) async fn end_since(mut self, asked: Instant) -> End {
        let status = soon(self.child.wait()).await.expect("it can be waited for");
        let took = asked.elapsed();
        let mut log = String::new();
        while let Some(line) = soon(self.log.next_line()).await.expect("UTF-8") {
            log += &line;
            log.push('\n');
        }
        End { code: status.code(), took, log }
    }

    /// Its memory now.
    pub(crate) fn memory(&self) -> Memory {
        let pid = self.child.id().expect("it runs still");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs still");
        let kib = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel has this field");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        Memory { rss_kib: kib("VmRSS:"), anonymous_kib: kib("RssAnon:") }
    }
}
