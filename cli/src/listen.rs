//! `jobwarden listen`: a receiver of notifications that verifies and prints them.

mod notification;
mod receiver;
mod report;
mod seen;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use http::StatusCode;
use hyper::service::service_fn;
use jobwarden_serve::{
    accept::{self, Limits, Server},
    shutdown::{Shutdown, ShutdownArgs, SignalError},
    signature::{Secrets, SecretsError},
};

use self::{receiver::Receiver, report::Output};
use crate::output;

/// How long requests that are in flight may take after Ctrl-C.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Receive notifications, verify their signatures and print them
///
/// A receiver to begin with: it shows what a sink sends, before an orchestrator can receive it. It understands CloudEvents in structured and
/// in binary mode, verifies signatures by Standard Webhooks, and says which notifications were received before: a sink delivers at least
/// once, and a receiver deduplicates by ID. What it refuses is reported on standard error. It serves plain HTTP; every path is the same to it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  Make a secret, and print what is signed with it:
    echo \"whsec_$(openssl rand -base64 32)\" > secret
    {prog} listen --listen 0.0.0.0:8080 --secret-file secret
  The sink that sends to it, in the reaper's configuration file:
    sinks: [{name: listen, url: 'http://HOST:8080/', secretFile: /path/to/secret}]
  or in the values of the Helm chart:
    kubectl -n jobwarden create secret generic listen --from-file=secret
    reaper: {sinks: [{name: listen, url: 'http://HOST:8080/', secret: {name: listen, key: secret}}]}
  Respond as a receiver that is out of order, and see the retries:
    {prog} listen --respond 503
  Print the IDs of lost Jobs only:
    {prog} listen -o json | jq -r 'select(.event.data.kind == \"lost\") | .event.data.jobId'")]
pub(crate) struct ListenArgs {
    /// The address to listen on; the default is for processes on this machine only
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "IP:PORT")]
    listen: SocketAddr,

    /// File with the secrets of the sink, whsec_…, one per line: requests without a valid signature are refused with 401. Without it
    /// signatures are not verified
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// The status of the response to notifications: 2xx acknowledges, 410 refuses, everything else is retried
    #[arg(long, default_value = "200", value_parser = status, value_name = "STATUS")]
    respond: StatusCode,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    output: Output,
}

/// Why nothing can be received any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// The secrets cannot be read.
    #[error("cannot read {}", path.display())]
    SecretFile { path: PathBuf, source: io::Error },
    /// The secrets are not valid.
    #[error("{} is not valid", path.display())]
    Secrets { path: PathBuf, source: SecretsError },
    /// The port.
    #[error("cannot listen on {addr}")]
    Listen { addr: SocketAddr, source: io::Error },
    /// The signal handlers.
    #[error(transparent)]
    Signals(#[from] SignalError),
    /// Standard output.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl ListenArgs {
    /// Receives and prints until SIGINT or SIGTERM, or until nobody reads standard output.
    pub(crate) async fn run(self) -> Result<(), ListenError> {
        let Self { listen: addr, secret_file, respond, output } = self;
        let secrets = secret_file.as_deref().map(secrets).transpose()?;
        let failed = |source| ListenError::Listen { addr, source };
        let listener = accept::listen(addr).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let shutdown = Shutdown::on_signals()?;
        let verified = if secrets.is_some() { "verifying signatures" } else { "not verifying signatures" };
        output::message(&format!("listening on http://{addr}/, {verified}, responding {respond}; Ctrl-C ends"));

        let limits = Limits::few_clients();
        let receiver = Receiver::new(secrets, respond, output, limits, Box::new(io::stdout()), shutdown.clone());
        let receiver = Arc::new(receiver);
        let service = {
            let receiver = Arc::clone(&receiver);
            service_fn(move |request| {
                let receiver = Arc::clone(&receiver);
                async move { Ok::<_, Infallible>(receiver.answer(request).await) }
            })
        };
        let drain = ShutdownArgs { drain_delay: Duration::ZERO, drain_timeout: DRAIN_TIMEOUT };
        Server::http(listener, limits).run_until(service, shutdown, drain).await;

        output::message(&receiver.summary());
        match receiver.failure() {
            // A reader that has closed the pipe, such as `head`, is no error.
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ListenError::Output(error)),
            _ => Ok(()),
        }
    }
}

fn secrets(path: &Path) -> Result<Secrets, ListenError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| ListenError::SecretFile { path: path.to_owned(), source })?;
    Secrets::parse(&text).map_err(|source| ListenError::Secrets { path: path.to_owned(), source })
}

/// A status of a final response.
fn status(text: &str) -> Result<StatusCode, String> {
    let status = text.parse().ok().filter(|code| (200..600).contains(code)).map(StatusCode::from_u16);
    status.and_then(Result::ok).ok_or_else(|| "expected a status between 200 and 599".to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("200", true)]
    #[case("410", true)]
    #[case("599", true)]
    #[case("199", false)]
    #[case("600", false)]
    #[case("ok", false)]
    fn a_status_is_one_of_a_final_response(#[case] text: &str, #[case] accepted: bool) {
        assert_eq!(status(text).is_ok(), accepted);
    }

    #[test]
    fn a_secret_file_that_is_not_one_is_named() {
        let shown = |path: &Path| jobwarden_serve::logs::with_causes(&secrets(path).expect_err("no secrets"));
        assert!(shown(Path::new("/nowhere/secret")).starts_with("cannot read /nowhere/secret: "));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "s3cret").expect("writable");
        let expected =
            format!("{} is not valid: line 1 of the secret file is not whsec_<base64>", file.path().display());
        assert_eq!(shown(file.path()), expected);
    }
}
