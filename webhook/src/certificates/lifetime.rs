//! How long certificates last.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::CertificateParams;
use rustls::pki_types::CertificateDer;

use super::error::Unusable;

/// The most that a certificate is backdated, for machines whose clocks are slow.
const BACKDATED: Duration = DAY;

/// The longest overlap of two authorities.
const LONGEST_OVERLAP: Duration = DAY;

pub(super) const DAY: Duration = Duration::from_hours(24);

/// How long certificates last. Each is renewed when a third of its lifetime is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Lifetime of an authority. A pod that waits with the authorities of its admission trusts the servers for a third of it.
    pub authority: Duration,
    /// Lifetime of a serving certificate.
    pub leaf: Duration,
}

/// What the certificates of an installation have to be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    /// The namespace whose Services they are for.
    pub(super) namespace: &'a str,
    pub(super) lifetimes: Lifetimes,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { authority: 365 * DAY, leaf: 90 * DAY }
    }
}

impl Lifetimes {
    /// How long clients have to learn of a new authority: sidecars by the reply to a beat, agents by their `ConfigMap`, the API
    /// server by its watch. Two overlaps, and the time to reconcile, fit into the last third of an authority's lifetime.
    pub(super) fn overlap(self) -> Duration {
        (self.authority / 12).min(LONGEST_OVERLAP)
    }

    /// Interval of reconciliation without any watch event: short enough for every step of a rotation to be in time.
    pub(super) fn recheck(self) -> Duration {
        (self.authority.min(self.leaf) / 40).min(Duration::from_mins(1))
    }
}

/// The validity period of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Validity {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, Unusable> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| Unusable::NotACertificate)?;
        let time = |seconds: i64| {
            // Times before 1970 are treated as 1970: both are long past.
            let since_epoch = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            UNIX_EPOCH.checked_add(since_epoch).ok_or(Unusable::NotACertificate)
        };
        let validity = parsed.validity();
        Ok(Self {
            not_before: time(validity.not_before.timestamp())?,
            not_after: time(validity.not_after.timestamp())?,
        })
    }

    /// From slightly before `now`, for `lifetime`.
    pub(super) fn lasting(lifetime: Duration, now: SystemTime) -> Self {
        Self { not_before: now - BACKDATED.min(lifetime / 10), not_after: now + lifetime }
    }

    /// Whether less than a third of the lifetime is left.
    pub(super) fn is_in_last_third(self, now: SystemTime) -> bool {
        self.remaining(now) < self.lifetime() / 3
    }

    /// Whether less than a sixth of the lifetime is left, although renewal is due at a third.
    pub(super) fn is_overdue(self, now: SystemTime) -> bool {
        self.remaining(now) < self.lifetime() / 6
    }

    /// Whether the certificate was made to last clearly longer than `lifetime`: longer than its backdating accounts for.
    pub(super) fn exceeds(self, lifetime: Duration) -> bool {
        self.lifetime() > lifetime + lifetime / 5
    }

    pub(super) fn is_over(self, now: SystemTime) -> bool {
        self.not_after <= now
    }

    fn lifetime(self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }

    fn remaining(self, now: SystemTime) -> Duration {
        self.not_after.duration_since(now).unwrap_or_default()
    }

    /// Writes the period into the parameters of a new certificate.
    pub(super) fn set(self, params: &mut CertificateParams) {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let date = |time| epoch + Duration::from_secs(unix_seconds(time));
        params.not_before = date(self.not_before);
        params.not_after = date(self.not_after);
    }
}

/// Seconds since 1970, the resolution of certificates.
pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
