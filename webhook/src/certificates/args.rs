//! The flags of certificates.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Lifetimes, Source};

/// The shortest life of a certificate; below it the steps of a rotation would outrun the watches of its readers.
const SHORTEST: Duration = Duration::from_mins(1);

/// Flags that say where certificates come from.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Certificates")]
pub(crate) struct CertificateArgs {
    /// Who makes the certificates in the Secrets jobwarden-webhook-tls and jobwarden-reaper-tls
    #[arg(long, env = "JOBWARDEN_CERTIFICATES", value_enum, default_value_t = Maker::Managed, value_name = "WHO")]
    certificates: Maker,

    /// How long a certificate authority lasts; the next one takes over, with an overlap, when a third of that is left
    #[arg(long, env = "JOBWARDEN_CA_LIFETIME", default_value = "3650d", value_parser = lifetime, value_name = "DURATION")]
    ca_lifetime: Duration,

    /// How long a serving certificate lasts, at most as long as the authority; it is made anew when a third of that is left
    #[arg(long, env = "JOBWARDEN_LEAF_LIFETIME", default_value = "90d", value_parser = lifetime, value_name = "DURATION")]
    leaf_lifetime: Duration,
}

/// Who makes certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Maker {
    /// This program, which also changes them in time and writes the caBundle
    Managed,
    /// Somebody else, such as cert-manager, who also writes the caBundle
    External,
}

/// A leaf cannot last longer than what vouches for it.
#[derive(Debug, thiserror::Error)]
#[error("--leaf-lifetime must not be longer than --ca-lifetime: a certificate is worth nothing without its authority")]
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
    if lifetime < SHORTEST { Err("a certificate lasts at least 1m".to_owned()) } else { Ok(lifetime) }
}
