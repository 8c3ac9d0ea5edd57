//! The sidecar as a process, started as the kubelet would start it.

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

use crate::{authority::SERVER_NAME, timeout::with_timeout};

/// A running sidecar. Dropping it kills the process.
pub(crate) struct Sidecar {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    token_dir: tempfile::TempDir,
}

/// How a sidecar exited.
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    /// From the signal to the exit.
    pub(crate) took: Duration,
    /// Everything it wrote to stderr that was not read before.
    pub(crate) log: String,
}

/// `VmRSS` and `RssAnon` of `/proc/<pid>/status`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) rss_kib: u64,
    pub(crate) anonymous_kib: u64,
}

impl Sidecar {
    /// Starts a sidecar that sends beats to `address` and trusts `ca`.
    pub(crate) fn start(address: SocketAddr, ca: String) -> Self {
        Self::start_with(&[
            (env::REAPER_ADDRESS, address.to_string()),
            (env::REAPER_NAME, SERVER_NAME.to_owned()),
            (env::CA, ca),
        ])
    }

    /// Starts a sidecar with these variables, plus the interval and the token file.
    pub(crate) fn start_with(variables: &[(&str, String)]) -> Self {
        let token_dir = tempfile::tempdir().expect("a temporary directory");
        // The same tests can run against the binary in the image: the static one, built for size.
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

    /// Replaces the token atomically, as the kubelet does.
    pub(crate) fn renew_token(&self, token: &str) {
        let new = self.token_dir.path().join("new");
        std::fs::write(&new, token).expect("writable");
        std::fs::rename(new, self.token_dir.path().join("token")).expect("writable");
    }

    /// Sends SIGTERM, as the kubelet does.
    pub(crate) fn terminate(&self) -> Instant {
        let pid = self.child.id().expect("the process is running");
        kill(Pid::from_raw(pid.try_into().expect("a PID")), Signal::SIGTERM).expect("it is a child of this process");
        Instant::now()
    }

    /// The next line on stderr.
    pub(crate) async fn log_line(&mut self) -> String {
        with_timeout(self.log.next_line()).await.expect("UTF-8").expect("the process is running")
    }

    /// Sends SIGTERM and waits for the exit.
    pub(crate) async fn stop(self) -> Exit {
        let asked = self.terminate();
        self.wait_for_exit(asked).await
    }

    /// Waits for the exit after [`Self::terminate`].
    pub(crate) async fn wait_for_exit(mut self, asked: Instant) -> Exit {
        let status = with_timeout(self.child.wait()).await.expect("it can be waited for");
        let took = asked.elapsed();
        let mut log = String::new();
        while let Some(line) = with_timeout(self.log.next_line()).await.expect("UTF-8") {
            log += &line;
            log.push('\n');
        }
        Exit { code: status.code(), took, log }
    }

    /// Its current memory.
    pub(crate) fn memory(&self) -> Memory {
        let pid = self.child.id().expect("the process is running");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is running");
        let kib = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel has this field");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        Memory { rss_kib: kib("VmRSS:"), anonymous_kib: kib("RssAnon:") }
    }
}
