//! The command line.

use std::{ffi::OsString, net::SocketAddr};

use clap::Parser;
use jobwarden_common::names::port;
use jobwarden_serve::{
    accept::LimitArgs, admin::AdminArgs, logs::LogArgs, scrape::MetricsArgs, shutdown::ShutdownArgs,
};

use crate::{certificates::CertificateArgs, settings::SettingsArgs};

/// The name of the binary.
pub const PROGRAM: &str = "jobwarden-webhook";

/// Labels Jobs with the IDs of their run and job, and adds the heartbeat sidecar to their pods
///
/// Answers the API server's admission requests. Makes its own certificates, keeps them in Secrets of its namespace, and writes the
/// CA into every caBundle of the mutating webhook configuration "jobwarden".
#[derive(Parser, Debug)]
#[command(name = PROGRAM, version)]
pub struct WebhookArgs {
    /// Address for admission requests over HTTPS
    #[arg(long, env = "JOBWARDEN_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], port::WEBHOOK)), value_name = "IP:PORT")]
    pub(crate) listen: SocketAddr,

    #[command(flatten)]
    pub(crate) settings: SettingsArgs,

    /// Namespace that jobwarden is installed in
    #[arg(long, env = "JOBWARDEN_NAMESPACE", value_name = "NAME")]
    pub(crate) namespace: String,

    #[command(flatten)]
    pub(crate) certificates: CertificateArgs,

    #[command(flatten)]
    pub(crate) admin: AdminArgs,

    #[command(flatten)]
    pub(crate) metrics: MetricsArgs,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    #[command(flatten)]
    pub(crate) logs: LogArgs,

    #[command(flatten)]
    pub(crate) shutdown: ShutdownArgs,
}

impl WebhookArgs {
    /// The admission settings in the arguments of a webhook's container; `None` if they cannot be parsed.
    pub fn settings_of(arguments: impl IntoIterator<Item = OsString>) -> Option<SettingsArgs> {
        let command_line = [OsString::from(PROGRAM)].into_iter().chain(arguments);
        Some(Self::try_parse_from(command_line).ok()?.settings)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use rstest::rstest;

    use super::*;

    fn parse(flags: &[&str]) -> Result<WebhookArgs, clap::Error> {
        let required = [PROGRAM, "--namespace=jobwarden", "--sidecar-image=i"];
        WebhookArgs::try_parse_from(required.iter().chain(flags))
    }

    #[test]
    fn the_flags_are_well_formed() {
        WebhookArgs::command().debug_assert();
    }

    #[rstest]
    #[case(&[], false)]
    #[case(&["--finalizer"], true)]
    #[case(&["--finalizer=true"], true)]
    #[case(&["--finalizer=false"], false)]
    fn the_finalizer_is_off_by_default(#[case] flags: &[&str], #[case] expected: bool) {
        assert_eq!(parse(flags).expect("valid flags").settings.finalizer, expected);
    }

    #[rstest]
    #[case("--sidecar-memory=8Mi")]
    #[case("--sidecar-cpu=fast")]
    #[case("--beat-interval=1ms")]
    #[case("--unreachable-grace=hour")]
    #[case("--sidecar-pull-policy=sometimes")]
    fn an_invalid_value_is_rejected_with_the_name_of_the_flag(#[case] flag: &str) {
        let error = parse(&[flag]).expect_err("an invalid value").to_string();
        let name = flag.split_once('=').expect("a flag with a value").0;
        assert!(error.contains(name), "{error}");
    }

    #[test]
    fn the_settings_of_a_container_are_read_from_its_arguments() {
        let arguments = ["--namespace=jobwarden", "--finalizer", "--log-level=info"].map(OsString::from);
        assert!(WebhookArgs::settings_of(arguments).is_some_and(|settings| settings.finalizer));
        assert!(WebhookArgs::settings_of([OsString::from("--of-another-version")]).is_none());
    }
}
