//! The heartbeat sidecar; see [`jobwarden_sidecar`].

use std::io::Write as _;

/// There are no flags: the webhook configures the sidecar through its environment.
const HELP: &str = "\
The jobwarden heartbeat sidecar. The webhook adds it to worker pods and sets these environment variables:
  JOBWARDEN_REAPER_ADDRESS  host:port of the reaper (required)
  JOBWARDEN_REAPER_NAME     DNS name in the reaper's certificate (required)
  JOBWARDEN_CA              CA bundle, PEM (required)
  JOBWARDEN_INTERVAL_MS     milliseconds between beats (default 10000)
  JOBWARDEN_TOKEN_FILE      pod-bound token (default /var/run/secrets/kubernetes.io/serviceaccount/token)
--version prints the version. Without arguments the sidecar sends beats until SIGTERM.";

fn main() {
    match std::env::args().nth(1).as_deref() {
        None => send_beats(),
        // The agent's DaemonSet runs this so that every node has the image.
        Some("--version") => print(concat!("jobwarden-sidecar ", env!("CARGO_PKG_VERSION"))),
        Some(_) => print(HELP),
    }
}

fn send_beats() {
    if let Err(error) = jobwarden_sidecar::run() {
        jobwarden_sidecar::log_line(&format!(
            "cannot start the event loop or install signal handlers, this pod sends no heartbeats: {error}"
        ));
        // Exiting would be worse: the Job controller counts a sidecar's restarts against the Job's backoffLimit.
        loop {
            std::thread::park();
        }
    }
}

fn print(text: &str) {
    // A closed stdout is no error here.
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use jobwarden_common::names::sidecar_env as env;

    use super::HELP;

    #[test]
    fn the_help_lists_every_environment_variable() {
        for name in [env::REAPER_ADDRESS, env::REAPER_NAME, env::CA, env::INTERVAL_MS, env::TOKEN_FILE] {
            assert!(HELP.contains(name), "{name}");
        }
    }
}
