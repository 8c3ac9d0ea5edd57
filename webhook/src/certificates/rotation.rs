//! Replaces one certificate authority by the next, with every client trusting what is served at all times.
//!
//! ```text
//!  Steady ──last third──► Announced ──overlap──► Switched ──overlap──► Steady
//!  bundle: current        current + next         new + old             new
//!  leaves: by current     by current             by new                by new
//! ```
//!
//! An authority that may sign for other names, or for longer, than the next one would be is replaced in the same way at any time.
//!
//! The overlap begins once the phase is confirmed: the bundle is in every place that clients read it from, and every leaf is signed
//! as the phase requires. The state is in the authority's Secret, so any replica can continue an interrupted rotation.
//!
//! The old authority also cross-signs the new one, and leaves are served with that certificate. So a client with an outdated bundle,
//! such as the sidecar of a pod that waited in a queue for days, trusts them until the old authority expires.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    authority::Authority,
    contents::{self, CERTIFICATE, Contents, KEY, text},
    error::Unusable,
    lifetime::{Terms, unix_seconds},
    pem::certificate,
};

/// Keys of the authority's Secret beside those of `kubernetes.io/tls`, which hold the signing authority.
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const OLD_CERTIFICATE: &str = "old.crt";
/// The signing authority's certificate, cross-signed by the old one.
const CROSS_SIGNED: &str = "vouched.crt";
/// When the phase was confirmed, in seconds since 1970.
const CONFIRMED: &str = "confirmed";

/// The authorities, and the state of their rotation.
#[derive(Debug)]
pub(super) struct Rotation {
    /// The signing authority.
    pub(super) current: Authority,
    phase: Phase,
    /// The certificate of `current` cross-signed by the previous authority, PEM.
    cross_signed: Option<String>,
    /// When the phase was confirmed to be in place everywhere.
    confirmed: Option<SystemTime>,
}

#[derive(Debug)]
enum Phase {
    /// There is only one authority.
    Steady,
    /// The bundle contains the next authority.
    Announced(Box<Authority>),
    /// The next authority signs; clients may still trust only the old one (PEM).
    Switched(String),
}

impl Rotation {
    /// The first authority of an installation.
    pub(super) fn begin(now: SystemTime, terms: Terms<'_>) -> Result<Self, rcgen::Error> {
        let current = Authority::make(now, terms)?;
        Ok(Self { current, phase: Phase::Steady, cross_signed: None, confirmed: None })
    }

    /// Reads the state from a Secret that has an authority which can still sign at `now`. If the current one has expired and the next
    /// one was announced, the next one replaces it, because clients know it. Corrupt parts other than the signing authority are
    /// ignored.
    pub(super) fn read(contents: &Contents, now: SystemTime) -> Result<Self, Unusable> {
        let authority = |certificate, key| Authority::read(text(contents, certificate)?, text(contents, key)?, now);
        let next = authority(NEXT_CERTIFICATE, NEXT_KEY).ok();
        let current = match (authority(CERTIFICATE, KEY), next) {
            (Err(Unusable::Expiring), Some(next)) => {
                return Ok(Self { current: next, phase: Phase::Steady, cross_signed: None, confirmed: None });
            }
            (Ok(current), Some(next)) => {
                let confirmed = confirmed(contents);
                let cross_signed = cross_signed(contents);
                return Ok(Self { current, phase: Phase::Announced(Box::new(next)), cross_signed, confirmed });
            }
            (current, None) => current?,
            (Err(error), Some(_)) => return Err(error),
        };
        let old = text(contents, OLD_CERTIFICATE).ok().filter(|old| certificate(old).is_ok());
        let phase = old.map_or(Phase::Steady, |old| Phase::Switched(old.to_owned()));
        let confirmed = confirmed(contents).filter(|_| !matches!(phase, Phase::Steady));
        Ok(Self { current, phase, cross_signed: cross_signed(contents), confirmed })
    }

    /// The state, as the contents of its Secret.
    pub(super) fn contents(&self) -> Contents {
        let Self { current, phase, cross_signed, confirmed } = self;
        let mut texts = vec![(CERTIFICATE, current.pem().to_owned()), (KEY, current.key_pem().to_owned())];
        match phase {
            Phase::Steady => {}
            Phase::Announced(next) => {
                texts.extend([(NEXT_CERTIFICATE, next.pem().to_owned()), (NEXT_KEY, next.key_pem().to_owned())]);
            }
            Phase::Switched(old) => texts.push((OLD_CERTIFICATE, old.clone())),
        }
        texts.extend(cross_signed.iter().map(|pem| (CROSS_SIGNED, pem.clone())));
        texts.extend(confirmed.iter().map(|at| (CONFIRMED, unix_seconds(*at).to_string())));
        contents::contents(texts)
    }

    /// The CA bundle for clients, PEM; the signing authority comes first.
    pub(super) fn bundle(&self) -> String {
        let other = match &self.phase {
            Phase::Steady => "",
            Phase::Announced(next) => next.pem(),
            Phase::Switched(old) => old,
        };
        [self.current.pem(), other].concat()
    }

    /// The intermediate certificate for clients that know only the previous authority, PEM.
    pub(super) fn cross_signed(&self) -> Option<&str> {
        self.cross_signed.as_deref()
    }

    /// The phase, for logs.
    pub(super) fn phase(&self) -> &'static str {
        match self.phase {
            Phase::Steady => "steady",
            Phase::Announced(_) => "announced",
            Phase::Switched(_) => "switched",
        }
    }

    /// Whether the next step is due at `now`.
    pub(super) fn is_due(&self, now: SystemTime, terms: Terms<'_>) -> bool {
        match self.phase {
            Phase::Steady => self.current.validity().is_in_last_third(now) || !self.current.fits(terms),
            Phase::Announced(_) | Phase::Switched(_) => {
                let overlap = terms.lifetimes.overlap();
                // An authority that expires within the overlap is not waited for: it cross-signs the next one.
                let expires = self.current.validity().not_after <= now + overlap;
                let passed = |since| expires || now.duration_since(since).is_ok_and(|passed| passed >= overlap);
                self.confirmed.is_some_and(passed)
            }
        }
    }

    /// The state after the next step.
    pub(super) fn advance(self, now: SystemTime, terms: Terms<'_>) -> Result<Self, rcgen::Error> {
        let Self { current, phase, cross_signed, confirmed: _ } = self;
        Ok(match phase {
            Phase::Steady => {
                let next = Box::new(Authority::make(now, terms)?);
                Self { current, phase: Phase::Announced(next), cross_signed, confirmed: None }
            }
            Phase::Announced(next) => {
                let cross_signed = Some(current.cross_sign(&next, terms)?);
                let phase = Phase::Switched(current.pem().to_owned());
                Self { current: *next, phase, cross_signed, confirmed: None }
            }
            Phase::Switched(_) => Self { current, phase: Phase::Steady, cross_signed, confirmed: None },
        })
    }

    /// Records that the phase is in place everywhere since `now`; returns whether that changed anything.
    pub(super) fn confirm(&mut self, now: SystemTime) -> bool {
        let changed = self.confirmed.is_none() && !matches!(self.phase, Phase::Steady);
        if changed {
            self.confirmed = Some(now);
        }
        changed
    }
}

fn confirmed(contents: &Contents) -> Option<SystemTime> {
    let seconds = text(contents, CONFIRMED).ok()?.parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn cross_signed(contents: &Contents) -> Option<String> {
    text(contents, CROSS_SIGNED).ok().filter(|pem| certificate(pem).is_ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
