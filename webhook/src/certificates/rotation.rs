//! One certificate authority after the other, without a moment in which a client trusts none of what is served.
//!
//! ```text
//!  Steady ──last third──► Announced ──overlap──► Switched ──overlap──► Steady
//!  bundle: current        current + next         new + old             new
//!  leaves: by current     by current             by new                by new
//! ```
//!
//! The overlap begins once it is confirmed: every place that clients learn the bundle from holds it, and every leaf is signed as it
//! shall be. All of it stands in the authority's Secret, so a replica that is cut off anywhere is followed by any other.
//!
//! The old authority also vouches for the new one, and leaves carry that along. So a client that has heard nothing, such as the
//! sidecar of a pod that waited in a queue for days, trusts them until the old authority expires.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    Lifetimes, Unusable,
    authority::Authority,
    certificate, secrets,
    secrets::{Contents, text},
    unix_seconds,
};

/// Keys of the authority's Secret beside those of `kubernetes.io/tls`, which hold the one that signs.
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const OLD_CERTIFICATE: &str = "old.crt";
/// The certificate of the one that signs, by the old one.
const VOUCHED: &str = "vouched.crt";
/// When the phase was confirmed, in seconds since 1970.
const CONFIRMED: &str = "confirmed";

/// The authorities, and where their rotation stands.
#[derive(Debug)]
pub(super) struct Rotation {
    /// The one that signs.
    pub(super) current: Authority,
    phase: Phase,
    /// The certificate of `current` by the one before, PEM.
    vouched: Option<String>,
    /// Since when the phase is confirmed to be true everywhere.
    confirmed: Option<SystemTime>,
}

#[derive(Debug)]
enum Phase {
    /// There is only one.
    Steady,
    /// Clients are told of the next one.
    Announced(Box<Authority>),
    /// The next one signs; clients may still have been told of the old one, PEM, alone.
    Switched(String),
}

impl Rotation {
    /// The first authority of an installation.
    pub(super) fn begin(now: SystemTime, lifetimes: Lifetimes) -> Result<Self, rcgen::Error> {
        let current = Authority::make(now, lifetimes)?;
        Ok(Self { current, phase: Phase::Steady, vouched: None, confirmed: None })
    }

    /// Reads the state in a Secret, if an authority of it can still sign at `now`. One that expired after the next was announced is
    /// followed by that: clients know it. What is spoilt beside the authority that signs is left out.
    pub(super) fn read(contents: &Contents, now: SystemTime) -> Result<Self, Unusable> {
        let authority = |certificate, key| Authority::read(text(contents, certificate)?, text(contents, key)?, now);
        let next = authority(NEXT_CERTIFICATE, NEXT_KEY).ok();
        let current = match (authority(secrets::CERTIFICATE, secrets::KEY), next) {
            (Err(Unusable::Expiring), Some(next)) => {
                return Ok(Self { current: next, phase: Phase::Steady, vouched: None, confirmed: None });
            }
            (Ok(current), Some(next)) => {
                let confirmed = confirmed(contents);
                let vouched = vouched(contents);
                return Ok(Self { current, phase: Phase::Announced(Box::new(next)), vouched, confirmed });
            }
            (current, None) => current?,
            (Err(error), Some(_)) => return Err(error),
        };
        let old = text(contents, OLD_CERTIFICATE).ok().filter(|old| certificate(old).is_ok());
        let phase = old.map_or(Phase::Steady, |old| Phase::Switched(old.to_owned()));
        let confirmed = confirmed(contents).filter(|_| !matches!(phase, Phase::Steady));
        Ok(Self { current, phase, vouched: vouched(contents), confirmed })
    }

    /// The state, as the contents of its Secret.
    pub(super) fn contents(&self) -> Contents {
        let Self { current, phase, vouched, confirmed } = self;
        let mut texts =
            vec![(secrets::CERTIFICATE, current.pem().to_owned()), (secrets::KEY, current.key_pem().to_owned())];
        match phase {
            Phase::Steady => {}
            Phase::Announced(next) => {
                texts.extend([(NEXT_CERTIFICATE, next.pem().to_owned()), (NEXT_KEY, next.key_pem().to_owned())]);
            }
            Phase::Switched(old) => texts.push((OLD_CERTIFICATE, old.clone())),
        }
        texts.extend(vouched.iter().map(|pem| (VOUCHED, pem.clone())));
        texts.extend(confirmed.iter().map(|at| (CONFIRMED, unix_seconds(*at).to_string())));
        secrets::contents(texts)
    }

    /// What clients shall trust, PEM; the authority that signs comes first.
    pub(super) fn bundle(&self) -> String {
        let other = match &self.phase {
            Phase::Steady => "",
            Phase::Announced(next) => next.pem(),
            Phase::Switched(old) => old,
        };
        [self.current.pem(), other].concat()
    }

    /// What stands between a leaf and clients that know only the authority before, PEM.
    pub(super) fn vouched(&self) -> Option<&str> {
        self.vouched.as_deref()
    }

    /// What logs call the phase.
    pub(super) fn phase(&self) -> &'static str {
        match self.phase {
            Phase::Steady => "steady",
            Phase::Announced(_) => "announced",
            Phase::Switched(_) => "switched",
        }
    }

    /// Whether the next step is due at `now`.
    pub(super) fn is_due(&self, now: SystemTime, lifetimes: Lifetimes) -> bool {
        match self.phase {
            Phase::Steady => self.current.validity().is_in_last_third(now),
            Phase::Announced(_) | Phase::Switched(_) => {
                let overlap = lifetimes.overlap();
                // Nobody who has to be waited for is helped by an authority that expires meanwhile: it vouches for the next.
                let expires = self.current.validity().not_after <= now + overlap;
                let passed = |since| expires || now.duration_since(since).is_ok_and(|passed| passed >= overlap);
                self.confirmed.is_some_and(passed)
            }
        }
    }

    /// The state after the next step.
    pub(super) fn advance(self, now: SystemTime, lifetimes: Lifetimes) -> Result<Self, rcgen::Error> {
        let Self { current, phase, vouched, confirmed: _ } = self;
        Ok(match phase {
            Phase::Steady => {
                let next = Box::new(Authority::make(now, lifetimes)?);
                Self { current, phase: Phase::Announced(next), vouched, confirmed: None }
            }
            Phase::Announced(next) => {
                let vouched = Some(current.vouch_for(&next)?);
                let phase = Phase::Switched(current.pem().to_owned());
                Self { current: *next, phase, vouched, confirmed: None }
            }
            Phase::Switched(_) => Self { current, phase: Phase::Steady, vouched, confirmed: None },
        })
    }

    /// Notes that the phase is true everywhere since `now`; whether that was news.
    pub(super) fn confirm(&mut self, now: SystemTime) -> bool {
        let news = self.confirmed.is_none() && !matches!(self.phase, Phase::Steady);
        if news {
            self.confirmed = Some(now);
        }
        news
    }
}

fn confirmed(contents: &Contents) -> Option<SystemTime> {
    let seconds = text(contents, CONFIRMED).ok()?.parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn vouched(contents: &Contents) -> Option<String> {
    text(contents, VOUCHED).ok().filter(|pem| certificate(pem).is_ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
