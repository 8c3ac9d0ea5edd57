//! A look at certificates from outside, for `jobwarden-webhook check`.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::Secret;

use super::{
    Validity, certificate,
    leaf::{Leaf, certificates},
    secrets::{self, text},
};

/// The serving certificate in a Secret.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    leaf: Leaf,
    validity: Validity,
    /// What clients shall trust, PEM.
    pub(crate) bundle: String,
}

impl Serving {
    /// Reads it; the error says what is wrong with the Secret.
    pub(crate) fn read(secret: &Secret) -> Result<Self, String> {
        let contents = secret.data.clone().unwrap_or_default();
        let read = || {
            let leaf = Leaf::read(&contents)?;
            let validity = Validity::of(&certificate(&leaf.chain_pem)?)?;
            Ok(Self { leaf, validity, bundle: text(&contents, secrets::AUTHORITY)?.to_owned() })
        };
        read().map_err(|reason: super::Unusable| reason.to_string())
    }

    /// Until when it is valid.
    pub(crate) fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }

    /// Whether so little of its life is left at `now` that it should have been renewed long ago: that is due at a third.
    pub(crate) fn is_overdue(&self, now: SystemTime) -> bool {
        is_overdue(self.validity, now)
    }

    /// Whether who trusts `bundle` takes it for `name` at `now`; the error says why not. Of one that has expired, or is not valid
    /// yet, it is asked for a time when it was valid.
    pub(crate) fn is_trusted(&self, bundle: &str, name: &str, now: SystemTime) -> Result<(), String> {
        let Validity { not_before, not_after } = self.validity;
        let last = not_after.checked_sub(std::time::Duration::from_secs(1)).unwrap_or(not_after);
        let at = now.min(last).max(not_before);
        self.leaf.serves(bundle, &[name.to_owned()], at).map_err(|reason| reason.to_string())
    }
}

/// The authority in a Secret.
#[derive(Clone, Debug)]
pub(crate) struct Signing {
    pem: String,
    validity: Validity,
}

impl Signing {
    /// Reads it; the error says what is wrong with the Secret.
    pub(crate) fn read(secret: &Secret) -> Result<Self, String> {
        let contents = secret.data.clone().unwrap_or_default();
        let read = || {
            let pem = text(&contents, secrets::CERTIFICATE)?.to_owned();
            let validity = Validity::of(&certificate(&pem)?)?;
            Ok(Self { pem, validity })
        };
        read().map_err(|reason: super::Unusable| reason.to_string())
    }

    /// Until when it is valid.
    pub(crate) fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }

    /// See [`Serving::is_overdue`].
    pub(crate) fn is_overdue(&self, now: SystemTime) -> bool {
        is_overdue(self.validity, now)
    }

    /// Whether `bundle` holds it.
    pub(crate) fn is_in(&self, bundle: &str) -> bool {
        let Ok(own) = certificate(&self.pem) else { return false };
        certificates(bundle).is_ok_and(|held| held.contains(&own))
    }
}

/// Whether less than a sixth of the time is left.
fn is_overdue(validity: Validity, now: SystemTime) -> bool {
    let lifetime = validity.not_after.duration_since(validity.not_before).unwrap_or_default();
    validity.not_after.duration_since(now).unwrap_or_default() < lifetime / 6
}
