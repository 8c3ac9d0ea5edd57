//! Verifies tokens with the API server's keys. Beats cost the API server nothing, and are accepted while it is away.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};

use super::{
    bearer::Bearer,
    claims::{self, TokenError, Verified},
    key_set::KeySet,
    keys::KeyRing,
    rejection::Rejection,
    review::Reviewer,
};

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

/// The maximum length in bytes. No service account token is longer.
const MAX_TOKEN: usize = 8 * 1024;

/// The most verified tokens that are cached. One takes about 300 bytes.
const MAX_CACHED: usize = 65_536;

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
            return Err(TokenError::Malformed.into());
        }
        let Some(keys) = self.ring.current() else {
            let reviewer = self.reviewer.as_ref().ok_or(Rejection::Unverifiable)?;
            return reviewer.review(token).await.map(Arc::new);
        };
        let now = seconds(now);
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.cached(&keys, &digest) {
            return if known.expired(now) { Err(TokenError::Expired.into()) } else { Ok(known.bearer) };
        }
        let verified = claims::verify(token, &keys, now).inspect_err(|error| {
            if matches!(error, TokenError::Signature) {
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

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
