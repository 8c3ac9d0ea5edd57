//! The heartbeat sidecar; see [`jobwarden_sidecar`].

use std::io::Write as _;

/// It has no flags: the webhook tells it everything in its environment.
const ABOUT: &str = "\
jobwarden's heartbeat sidecar. The webhook adds it to worker pods and tells it everything by these variables:
  JOBWARDEN_REAPER_ADDRESS  host:port of the reaper (required)
  JOBWARDEN_REAPER_NAME     the name that the reaper's certificate must carry (required)
  JOBWARDEN_CA              the CA bundle, PEM (required)
  JOBWARDEN_INTERVAL_MS     milliseconds between beats (default 10000)
  JOBWARDEN_TOKEN_FILE      the pod-bound token (default /var/run/secrets/kubernetes.io/serviceaccount/token)
--version prints the version. Without arguments it beats until SIGTERM.";

fn main() {
    match std::env::args().nth(1).as_deref() {
        None => beat(),
        // The agent's DaemonSet runs this so that every node holds the image.
        Some("--version") => print(concat!("jobwarden-sidecar ", env!("CARGO_PKG_VERSION"))),
        Some(_) => print(ABOUT),
    }
}

fn beat() {
    if let Err(error) = jobwarden_sidecar::run() {
        jobwarden_sidecar::report(&format!("cannot start, so this worker pod will not be heard: {error}"));
        // To exit would be worse: the Job controller counts a sidecar's restarts against the Job's backoffLimit.
        loop {
            std::thread::park();
        }
    }
}

fn print(text: &str) {
    // Whoever closed stdout does not want to know.
    let _ = writeln!(std::io::stdout(), "{text}");
}
