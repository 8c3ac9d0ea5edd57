//! The API server's documents with the keys for service account tokens, parsed. Pure: `fuzz/src/token.rs` compiles this file too.

use std::collections::HashMap;

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk},
};
use serde::Deserialize;

/// The paths of the API server's `OpenID` Connect discovery document and keys (KEP-1393). Every service account may read both
/// by default (`ClusterRole` `system:service-account-issuer-discovery`).
pub(super) const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
pub(super) const KEYS_PATH: &str = "/openid/v1/jwks";

/// The keys of one issuer by ID.
#[derive(Debug)]
pub struct KeySet {
    issuer: String,
    keys: HashMap<String, Key>,
    /// The documents that the keys were parsed from.
    source: [String; 2],
}

/// Why no keys can be read from the API server's documents.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// A document is not valid.
    #[error("invalid response of the API server to {path}")]
    Parse {
        /// The requested path.
        path: &'static str,
        /// The cause.
        source: serde_json::Error,
    },
    /// No key has a supported algorithm.
    #[error("the API server has no key for ES256 or RS256; tokens cannot be verified")]
    NoKey,
}

/// A key and its algorithm. The algorithm in the header of a token is not trusted.
#[derive(Clone, Debug)]
pub struct Key {
    /// `ES256` or `RS256`.
    pub algorithm: Algorithm,
    /// The public key.
    pub key: DecodingKey,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

#[derive(Deserialize)]
struct RawKeys {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Parses a discovery document and a JSON Web Key Set. Keys for other algorithms than ES256 and RS256 are ignored.
    pub fn parse(discovery: String, key_set: String) -> Result<Self, KeySetError> {
        let Discovery { issuer } =
            serde_json::from_str(&discovery).map_err(|source| KeySetError::Parse { path: DISCOVERY_PATH, source })?;
        let RawKeys { keys } =
            serde_json::from_str(&key_set).map_err(|source| KeySetError::Parse { path: KEYS_PATH, source })?;
        let keys: HashMap<_, _> = keys.into_iter().filter_map(key).collect();
        if keys.is_empty() {
            return Err(KeySetError::NoKey);
        }
        Ok(Self { issuer, keys, source: [discovery, key_set] })
    }

    /// The issuer of the tokens, their `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// How many keys it has.
    #[allow(clippy::len_without_is_empty, reason = "it has at least one")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it was parsed from the same documents as `other`.
    pub(super) fn has_source_of(&self, other: &Self) -> bool {
        self.source == other.source
    }

    /// The key with this ID.
    pub fn key(&self, id: &str) -> Option<&Key> {
        self.keys.get(id)
    }
}

fn key(raw: serde_json::Value) -> Option<(String, Key)> {
    let jwk: Jwk = serde_json::from_value(raw).ok()?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        _ => return None,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some((jwk.common.key_id?, Key { algorithm, key }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::intake::token::fixture::{ISSUER, Signer};

    #[test]
    fn keys_for_other_algorithms_are_ignored() {
        let es256 = Signer::new("es256").jwk();
        let mixed = json!([
            es256,
            {"kty": "oct", "kid": "hmac", "k": "c2VjcmV0"},
            {"kty": "EC", "crv": "P-384", "kid": "p384", "x": "AA", "y": "AA"},
            {"kty": "made up", "kid": "unknown"},
            {"kty": "EC"},
            17,
        ]);
        let keys = KeySet::parse(json!({"issuer": ISSUER}).to_string(), json!({"keys": mixed}).to_string())
            .expect("one key is supported");
        assert_eq!(keys.keys.keys().collect::<Vec<_>>(), ["es256"]);
        assert_eq!(keys.issuer(), ISSUER);
    }

    #[test]
    fn a_key_set_without_a_usable_key_is_an_error() {
        let result = KeySet::parse(json!({"issuer": ISSUER}).to_string(), json!({"keys": []}).to_string());
        assert!(matches!(result, Err(KeySetError::NoKey)));
    }
}
