//! Whose a token is: verified here, with the API server's keys, so that beats cost it nothing and are heard while it is
//! away.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use jobwarden_common::{
    identity::{NodeName, PodUid},
    names::TOKEN_AUDIENCE,
};
use jsonwebtoken::{Validation, errors::ErrorKind};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    keys::{KeyRing, KeySet},
    refusal::Refusal,
    review::Reviewer,
};

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

/// For how long after its expiry a token is taken: the clocks of reaper and API server may differ that much. It need not
/// cover a kubelet that cannot renew tokens, since those last a day.
const LEEWAY: Duration = Duration::from_mins(1);

/// No token of a service account is longer; a longer one is not looked at.
const MAX_TOKEN: usize = 8 * 1024;

/// Verified tokens remembered. One takes some 300 bytes.
const MAX_REMEMBERED: usize = 65_536;

/// Who presents a token: a pod, by its service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The pod's UID.
    pub pod: PodUid,
    /// The node the token was made for; API servers before 1.30 do not say.
    pub node: Option<NodeName>,
    /// The namespace of pod and service account.
    pub namespace: String,
    /// The name of the service account.
    pub service_account: String,
}

/// The claims of a service account's token (`pkg/serviceaccount/claims.go`). `nbf` is not looked at: the API server sets
/// it to the time of issue, so that it tells nothing but how much clocks differ.
#[derive(Deserialize)]
struct Claims {
    exp: u64,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Bound,
}

#[derive(Deserialize)]
struct Bound {
    namespace: String,
    pod: Reference,
    node: Option<Reference>,
    serviceaccount: Reference,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    #[serde(default)]
    uid: String,
}

/// A token that was verified.
#[derive(Clone, Debug)]
struct Verified {
    bearer: Arc<Bearer>,
    /// Seconds since the Unix epoch.
    expires: u64,
}

/// Verifies tokens, and remembers which it has: a sidecar presents the same one thousands of times.
#[derive(Debug)]
pub struct Verifier {
    ring: KeyRing,
    reviewer: Option<Reviewer>,
    remembered: Mutex<Remembered>,
}

/// Tokens verified with `keys`, by their SHA-256.
#[derive(Debug, Default)]
struct Remembered {
    keys: Option<Arc<KeySet>>,
    tokens: HashMap<[u8; 32], Verified>,
}

impl Verifier {
    /// Verifies with the keys on this ring, and asks `reviewer` as long as there are none.
    pub fn new(ring: KeyRing, reviewer: Option<Reviewer>) -> Self {
        Self { ring, reviewer, remembered: Mutex::default() }
    }

    /// Whose token this is, at `now`.
    pub async fn verify(&self, token: &str, now: SystemTime) -> Result<Arc<Bearer>, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::Malformed);
        }
        let Some(keys) = self.ring.current() else {
            let reviewer = self.reviewer.as_ref().ok_or(Refusal::Unverifiable)?;
            return reviewer.review(token).await.map(Arc::new);
        };
        let now = seconds(now);
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.recall(&keys, &digest) {
            return if known.expired(now) { Err(Refusal::Expired) } else { Ok(known.bearer) };
        }
        let verified = verify(token, &keys, now).inspect_err(|refusal| {
            if matches!(refusal, Refusal::Signature) {
                self.ring.want_newer();
            }
        })?;
        let bearer = Arc::clone(&verified.bearer);
        self.remember(&keys, digest, verified, now);
        Ok(bearer)
    }

    fn recall(&self, keys: &Arc<KeySet>, digest: &[u8; 32]) -> Option<Verified> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let current = remembered.keys.as_ref().is_some_and(|with| Arc::ptr_eq(with, keys));
        remembered.tokens.get(digest).filter(|_| current).cloned()
    }

    fn remember(&self, keys: &Arc<KeySet>, digest: [u8; 32], verified: Verified, now: u64) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        // What another key had signed may not be valid any more.
        if remembered.keys.as_ref().is_none_or(|with| !Arc::ptr_eq(with, keys)) {
            *remembered = Remembered { keys: Some(Arc::clone(keys)), tokens: HashMap::new() };
        }
        if remembered.tokens.len() >= MAX_REMEMBERED {
            remembered.tokens.retain(|_, token| !token.expired(now));
        }
        // Full of tokens that are still good: start again, for keeping order would cost more than verifying does.
        if remembered.tokens.len() >= MAX_REMEMBERED {
            remembered.tokens.clear();
        }
        remembered.tokens.insert(digest, verified);
    }
}

impl Verified {
    fn expired(&self, now: u64) -> bool {
        self.expires.saturating_add(LEEWAY.as_secs()) <= now
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn verify(token: &str, keys: &KeySet, now: u64) -> Result<Verified, Refusal> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Malformed)?;
    let key = header.kid.as_deref().and_then(|id| keys.key(id)).ok_or(Refusal::Signature)?;
    // By the key's algorithm alone: a header that says otherwise (`none`, HMAC with the public key) is refused.
    let mut validation = Validation::new(key.algorithm);
    validation.set_required_spec_claims(&["aud", "exp", "iss"]);
    validation.set_audience(&[TOKEN_AUDIENCE]);
    validation.set_issuer(&[keys.issuer()]);
    // Checked below, by the time that was given.
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &validation).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => Refusal::Signature,
        ErrorKind::InvalidAudience => Refusal::Audience,
        ErrorKind::InvalidIssuer => Refusal::Issuer,
        _ => Refusal::Malformed,
    })?;
    let Claims { exp, kubernetes: Bound { namespace, pod, node, serviceaccount } } = claims.claims;
    let verified = Verified {
        bearer: Arc::new(Bearer {
            pod: pod.uid.into(),
            node: node.map(|node| node.name.into()),
            namespace,
            service_account: serviceaccount.name,
        }),
        expires: exp,
    };
    if verified.expired(now) { Err(Refusal::Expired) } else { Ok(verified) }
}
