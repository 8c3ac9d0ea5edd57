//! A read-only view of certificates in Secrets, for `jobwarden check`.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Secret;

use super::{
    contents::{AUTHORITY, CERTIFICATE, text},
    error::Unusable,
    leaf::Leaf,
    lifetime::Validity,
    pem::{certificate, certificates},
};

/// The serving certificate in a Secret.
#[derive(Clone, Debug)]
pub struct Serving {
    leaf: Leaf,
    validity: Validity,
    bundle: String,
}

impl Serving {
    /// Reads the certificate; the error says what is wrong with the Secret.
    pub fn read(secret: &Secret) -> Result<Self, String> {
        let contents = secret.data.clone().unwrap_or_default();
        let read = || {
            let leaf = Leaf::read(&contents)?;
            let validity = Validity::of(&certificate(&leaf.chain_pem)?)?;
            Ok(Self { leaf, validity, bundle: text(&contents, AUTHORITY)?.to_owned() })
        };
        read().map_err(|reason: Unusable| reason.to_string())
    }

    /// The CA bundle beside the certificate, PEM.
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// When the certificate expires.
    pub fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }

    /// Whether less than a sixth of the lifetime is left at `now`, although renewal is due at a third.
    pub fn is_overdue(&self, now: SystemTime) -> bool {
        self.validity.is_overdue(now)
    }

    /// Checks that a client that trusts `bundle` accepts the certificate for `name` at `now`; the error says why not. For a
    /// certificate that has expired or is not valid yet, the check uses a time within its validity.
    pub fn is_trusted(&self, bundle: &str, name: &str, now: SystemTime) -> Result<(), String> {
        let Validity { not_before, not_after } = self.validity;
        let last = not_after.checked_sub(Duration::from_secs(1)).unwrap_or(not_after);
        let at = now.min(last).max(not_before);
        self.leaf.serves(bundle, name, at).map_err(|reason| reason.to_string())
    }
}

/// The signing authority in a Secret.
#[derive(Clone, Debug)]
pub struct Signing {
    pem: String,
    validity: Validity,
}

impl Signing {
    /// Reads the authority; the error says what is wrong with the Secret.
    pub fn read(secret: &Secret) -> Result<Self, String> {
        let contents = secret.data.clone().unwrap_or_default();
        let read = || {
            let pem = text(&contents, CERTIFICATE)?.to_owned();
            let validity = Validity::of(&certificate(&pem)?)?;
            Ok(Self { pem, validity })
        };
        read().map_err(|reason: Unusable| reason.to_string())
    }

    /// When the authority expires.
    pub fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }

    /// See [`Serving::is_overdue`].
    pub fn is_overdue(&self, now: SystemTime) -> bool {
        self.validity.is_overdue(now)
    }

    /// Whether `bundle` contains the authority.
    pub fn is_in(&self, bundle: &str) -> bool {
        let Ok(own) = certificate(&self.pem) else { return false };
        certificates(bundle).is_ok_and(|held| held.contains(&own))
    }
}
