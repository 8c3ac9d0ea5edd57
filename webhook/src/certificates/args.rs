//! The flags of certificates.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{controller::Source, lifetime::Lifetimes};

/// The shortest lifetime of a certificate. Below it, the steps of a rotation would outrun the watches of its readers.
const SHORTEST: Duration = Duration::from_mins(1);

/// Flags that set where certificates come from.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Certificates")]
pub(crate) struct CertificateArgs {
    /// Who makes the certificates in the Secrets jobwarden-webhook-tls and jobwarden-reaper-tls
    #[arg(long, env = "JOBWARDEN_CERTIFICATES", value_enum, default_value_t = Maker::Managed, value_name = "WHO")]
    certificates: Maker,

    /// Lifetime of a certificate authority; the next one takes over, with an overlap, when a third of it is left
    #[arg(long, env = "JOBWARDEN_CA_LIFETIME", default_value = "365d", value_parser = lifetime, value_name = "DURATION")]
    ca_lifetime: Duration,

    /// Lifetime of a serving certificate, at most that of the authority; it is renewed when a third of it is left
    #[arg(long, env = "JOBWARDEN_LEAF_LIFETIME", default_value = "90d", value_parser = lifetime, value_name = "DURATION")]
    leaf_lifetime: Duration,
}

/// Who makes certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Maker {
    /// The webhook makes and renews them, and writes the caBundle
    Managed,
    /// Another tool, such as cert-manager, makes them and writes the caBundle
    External,
}

/// A leaf cannot outlive its authority.
#[derive(Debug, thiserror::Error)]
#[error(
    "--leaf-lifetime must not be longer than --ca-lifetime: a certificate is invalid once its authority has expired"
)]
pub struct LifetimeError;

impl CertificateArgs {
    /// Where certificates come from.
    pub(crate) fn source(self) -> Result<Source, LifetimeError> {
        let Self { certificates, ca_lifetime, leaf_lifetime } = self;
        match certificates {
            Maker::External => Ok(Source::External),
            Maker::Managed if leaf_lifetime > ca_lifetime => Err(LifetimeError),
            Maker::Managed => Ok(Source::Managed(Lifetimes { authority: ca_lifetime, leaf: leaf_lifetime })),
        }
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if lifetime < SHORTEST { Err("must be at least 1m".to_owned()) } else { Ok(lifetime) }
}
