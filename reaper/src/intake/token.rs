//! Verifies tokens with the API server's keys. Beats cost the API server nothing, and are accepted while it is away.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use jobwarden_common::names::TOKEN_AUDIENCE;
use jsonwebtoken::{Validation, errors::ErrorKind};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    bearer::Bearer,
    keys::{KeyRing, KeySet},
    rejection::Rejection,
    review::Reviewer,
};

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

/// How long after its expiry a token is still accepted, because the clocks of the reaper and the API server may differ. This does
/// not have to cover a kubelet that cannot renew tokens: a token is valid for a day.
const LEEWAY: Duration = Duration::from_mins(1);

/// The maximum length in bytes. No service account token is longer.
const MAX_TOKEN: usize = 8 * 1024;

/// The most verified tokens that are cached. One takes about 300 bytes.
const MAX_CACHED: usize = 65_536;

/// The claims of a service account token (`pkg/serviceaccount/claims.go`). `nbf` is ignored: the API server sets it to the time
/// of issue, so that it only shows the difference between the clocks.
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

/// A verified token.
#[derive(Clone, Debug)]
struct Verified {
    bearer: Arc<Bearer>,
    /// Seconds since the Unix epoch.
    expires: u64,
}

/// Verifies tokens, and caches verified ones: a sidecar presents the same token thousands of times.
#[derive(Debug)]
pub struct Verifier {
    ring: KeyRing,
    reviewer: Option<Reviewer>,
    cache: Mutex<Cache>,
}

/// Tokens verified with `keys`, by their SHA-256.
#[derive(Debug, Default)]
struct Cache {
    keys: Option<Arc<KeySet>>,
    tokens: HashMap<[u8; 32], Verified>,
}

impl Verifier {
    /// Verifies with the keys of `ring`. Until there are keys, `reviewer` reviews the tokens.
    pub fn new(ring: KeyRing, reviewer: Option<Reviewer>) -> Self {
        Self { ring, reviewer, cache: Mutex::default() }
    }

    /// The bearer of `token`, which must be valid at `now`.
    ///
    /// # Errors
    ///
    /// The [`Rejection`] says why the token is not accepted.
    pub async fn verify(&self, token: &str, now: SystemTime) -> Result<Arc<Bearer>, Rejection> {
        if token.len() > MAX_TOKEN {
            return Err(Rejection::Malformed);
        }
        let Some(keys) = self.ring.current() else {
            let reviewer = self.reviewer.as_ref().ok_or(Rejection::Unverifiable)?;
            return reviewer.review(token).await.map(Arc::new);
        };
        let now = seconds(now);
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.cached(&keys, &digest) {
            return if known.expired(now) { Err(Rejection::Expired) } else { Ok(known.bearer) };
        }
        let verified = verify(token, &keys, now).inspect_err(|rejection| {
            if matches!(rejection, Rejection::Signature) {
                self.ring.request_refresh();
            }
        })?;
        let bearer = Arc::clone(&verified.bearer);
        self.store(&keys, digest, verified, now);
        Ok(bearer)
    }

    fn cached(&self, keys: &Arc<KeySet>, digest: &[u8; 32]) -> Option<Verified> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let current = cache.keys.as_ref().is_some_and(|with| Arc::ptr_eq(with, keys));
        cache.tokens.get(digest).filter(|_| current).cloned()
    }

    fn store(&self, keys: &Arc<KeySet>, digest: [u8; 32], verified: Verified, now: u64) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        // A token signed with a withdrawn key is not valid any more.
        if cache.keys.as_ref().is_none_or(|with| !Arc::ptr_eq(with, keys)) {
            *cache = Cache { keys: Some(Arc::clone(keys)), tokens: HashMap::new() };
        }
        if cache.tokens.len() >= MAX_CACHED {
            cache.tokens.retain(|_, token| !token.expired(now));
        }
        // All cached tokens are still valid: clear the cache. Tracking the least recently used would cost more than verifying.
        if cache.tokens.len() >= MAX_CACHED {
            cache.tokens.clear();
        }
        cache.tokens.insert(digest, verified);
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

fn verify(token: &str, keys: &KeySet, now: u64) -> Result<Verified, Rejection> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| Rejection::Malformed)?;
    let key = header.kid.as_deref().and_then(|id| keys.key(id)).ok_or(Rejection::Signature)?;
    // Only the key's algorithm is allowed: a header with another one (`none`, HMAC with the public key) is rejected.
    let mut validation = Validation::new(key.algorithm);
    validation.set_required_spec_claims(&["aud", "exp", "iss"]);
    validation.set_audience(&[TOKEN_AUDIENCE]);
    validation.set_issuer(&[keys.issuer()]);
    // Checked below against `now`.
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &validation).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => Rejection::Signature,
        ErrorKind::InvalidAudience => Rejection::Audience,
        ErrorKind::InvalidIssuer => Rejection::Issuer,
        _ => Rejection::Malformed,
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
    if verified.expired(now) { Err(Rejection::Expired) } else { Ok(verified) }
}
