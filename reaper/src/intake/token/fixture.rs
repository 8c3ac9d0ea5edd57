//! Tokens as an API server signs them, with generated keys.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jobwarden_common::names::TOKEN_AUDIENCE;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::intake::key_set::KeySet;

pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The time of the tests, in seconds since the Unix epoch.
pub(crate) const NOW: u64 = 1_800_000_000;

/// A signing key of an API server.
pub(crate) struct Signer {
    pub(crate) id: String,
    key: KeyPair,
}

impl Signer {
    pub(crate) fn new(id: &str) -> Self {
        Self { id: id.to_owned(), key: KeyPair::generate().expect("ring makes P-256 keys") }
    }

    /// The public key (RFC 7517).
    pub(crate) fn jwk(&self) -> Value {
        // An uncompressed point: 4, x, y (SEC 1, 2.3.3).
        let (x, y) = self.public()[1..].split_at(32);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": text(x), "y": text(y)})
    }

    pub(crate) fn public(&self) -> &[u8] {
        self.key.public_key_raw()
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_der(self.key.serialized_der());
        jsonwebtoken::encode(&header, claims, &key).expect("the key is valid")
    }
}

pub(crate) fn key_set(signers: &[&Signer]) -> KeySet {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    KeySet::parse(json!({"issuer": ISSUER}).to_string(), json!({"keys": keys}).to_string()).expect("valid keys")
}

/// The claims of a token of `pod` on `node`, valid for a day from [`NOW`].
pub(crate) fn claims(pod: &str, node: &str) -> Value {
    claims_of("ort", "default", pod, node)
}

pub(crate) fn claims_of(namespace: &str, account: &str, pod: &str, node: &str) -> Value {
    json!({
        "aud": [TOKEN_AUDIENCE], "iss": ISSUER, "exp": NOW + 86_400, "iat": NOW, "nbf": NOW, "jti": "9c4b",
        "sub": format!("system:serviceaccount:{namespace}:{account}"),
        "kubernetes.io": {
            "namespace": namespace,
            "node": {"name": node, "uid": "n"},
            "pod": {"name": "p", "uid": pod},
            "serviceaccount": {"name": account, "uid": "s"},
        },
    })
}
