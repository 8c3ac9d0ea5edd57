//! The webhook's own certificates, without help from outside.
//!
//! ```text
//!  authority   a CA that signs for this installation         publication   what others are told: caBundle, endpoint
//!  rotation    one CA after the other, without a gap          keeper        sees that all of it is there and stays
//!  leaf        a serving certificate                          metrics       when what expires
//!  secrets     where they live, whoever of two replicas makes them first     inspection  a look from outside
//! ```
//!
//! All of it is level-triggered: a round looks at what there is and mends what is missing, so it does not matter which
//! replica does it, how often, or where the last one was cut off.

mod args;
mod authority;
mod inspection;
mod keeper;
mod leaf;
mod metrics;
mod publication;
mod rotation;
#[cfg(test)]
pub(crate) mod samples;
mod secrets;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::CertificateParams;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

pub(crate) use self::{
    args::CertificateArgs,
    inspection::{Serving, Signing},
};
pub use self::{
    args::LifetimeError,
    keeper::{Keeper, Source},
    metrics::Metrics,
};

/// How far a certificate's beginning is set back at most, for machines whose clocks are behind ours.
const BACKDATED: Duration = Duration::from_hours(1);

/// The longest time that those who trust one authority are given to hear of another.
const LONGEST_OVERLAP: Duration = DAY;

const DAY: Duration = Duration::from_hours(24);

/// Why the certificates are not in order.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The API server did not do what it was asked for.
    #[error("cannot {verb} the {kind} {name}")]
    Api {
        /// What was asked for.
        verb: &'static str,
        /// Of what kind of object.
        kind: &'static str,
        /// Of which one.
        name: String,
        /// What the API server says.
        source: kube::Error,
    },
    /// Another replica changes it as often as this one.
    #[error("the Secret {0} changes again and again; is somebody else writing it?")]
    Contended(&'static str),
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// The certificate that was found in order cannot be served.
    #[error("cannot serve the certificate of the Secret {0}")]
    Serve(&'static str, #[source] jobwarden_serve::tls::TlsError),
    /// It belongs to the installation.
    #[error("there is no {kind} {name}; the Helm chart and install.yaml make it")]
    Missing {
        /// What kind of object.
        kind: &'static str,
        /// Which one.
        name: String,
    },
    /// Somebody else keeps it, and it is of no use.
    #[error("the Secret {name} is of no use, and --certificates=external leaves it to others: {reason}")]
    Foreign {
        /// Which one.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The API server would not believe us.
    #[error(
        "the API server does not trust what is served here: the caBundle of {webhook} in the webhook configuration: {reason}"
    )]
    Distrusted {
        /// Which webhook of the configuration.
        webhook: String,
        /// What is wrong with its bundle.
        reason: String,
    },
    /// Sidecars are given an address to dial, and this one has none.
    #[error("the Service {0} has no ClusterIP yet; it must have one and not be headless")]
    NoClusterIp(String),
}

/// Why the contents of a Secret are of no use.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("its {0} is not PEM")]
    NotPem(&'static str),
    #[error("its tls.crt is no certificate")]
    NotACertificate,
    #[error("its tls.crt is no certificate authority")]
    NotAnAuthority,
    #[error("its key does not belong to its certificate")]
    Pair,
    #[error("its ca.crt is not what clients shall trust")]
    OtherBundle,
    #[error("it does not serve for {name}: {reason}")]
    Refused { name: String, reason: rustls::Error },
    #[error("it expires soon or has expired")]
    Expiring,
    #[error("the next step of its rotation is due")]
    Due,
    #[error("a part of it is spoilt or has expired")]
    Spoilt,
}

/// How long certificates last. Each is made anew when a third of its time is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// An authority. Every sidecar that runs has to trust it, so it is changed rarely.
    pub authority: Duration,
    /// A serving certificate.
    pub leaf: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { authority: 3650 * DAY, leaf: 90 * DAY }
    }
}

impl Lifetimes {
    /// The time that those who trust one authority are given to hear of another: sidecars by a beat's reply, agents by their
    /// `ConfigMap`, the API server by its watch. Two of them, and the time to look, fit into the last third of an authority.
    fn overlap(self) -> Duration {
        (self.authority / 12).min(LONGEST_OVERLAP)
    }

    /// How often everything is looked at, though nothing has been heard: often enough to be in time for every step.
    fn recheck(self) -> Duration {
        (self.authority.min(self.leaf) / 40).min(Duration::from_mins(1))
    }
}

/// The times of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Validity {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, Unusable> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| Unusable::NotACertificate)?;
        let time = |seconds: i64| {
            // Before 1970 is as long ago as 1970 is, for all that is asked of it.
            let since_epoch = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            UNIX_EPOCH.checked_add(since_epoch).ok_or(Unusable::NotACertificate)
        };
        let validity = parsed.validity();
        Ok(Self {
            not_before: time(validity.not_before.timestamp())?,
            not_after: time(validity.not_after.timestamp())?,
        })
    }

    /// From a little before `now` for `lifetime`.
    fn lasting(lifetime: Duration, now: SystemTime) -> Self {
        Self { not_before: now - BACKDATED.min(lifetime / 10), not_after: now + lifetime }
    }

    /// Whether less than a third of its time is left.
    fn is_in_last_third(self, now: SystemTime) -> bool {
        let lifetime = self.not_after.duration_since(self.not_before).unwrap_or_default();
        self.not_after.duration_since(now).unwrap_or_default() < lifetime / 3
    }

    fn is_over(self, now: SystemTime) -> bool {
        self.not_after <= now
    }
}

/// Seconds since 1970, as certificates and Secrets count them.
fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let date = |time| epoch + Duration::from_secs(unix_seconds(time));
    params.not_before = date(validity.not_before);
    params.not_after = date(validity.not_after);
}

/// The first certificate of a PEM text.
fn certificate(pem: &str) -> Result<CertificateDer<'static>, Unusable> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| Unusable::NotPem(secrets::CERTIFICATE))
}

#[cfg(test)]
mod tests;
