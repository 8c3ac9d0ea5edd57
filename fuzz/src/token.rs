//! Any bytes as a token, its header, its claims, or the keys. Whatever is accepted was signed by the API server, for this reaper, and is
//! still valid.

#![no_main]

#[path = "../../reaper/src/intake/bearer.rs"]
mod bearer;
#[path = "../../reaper/src/intake/claims.rs"]
mod claims;
#[allow(dead_code, reason = "the target reads no keys from an API server")]
#[path = "../../reaper/src/intake/key_set.rs"]
mod key_set;

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jobwarden_common::names::TOKEN_AUDIENCE;
use jsonwebtoken::Algorithm;
use libfuzzer_sys::fuzz_target;
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde_json::{Value, json};

use crate::{
    claims::{Verified, verify},
    key_set::KeySet,
};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const NOW: u64 = 1_800_000_000;
const KEY_ID: &str = "k";

/// An API server's key: of no cluster, and known to every reader of this file.
static SIGNER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_slice(&[7; 32]).expect("a scalar"));

static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let point = SIGNER.verifying_key().to_encoded_point(false);
    let (x, y) = (point.x().expect("not compressed"), point.y().expect("not compressed"));
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let key =
        json!({"use": "sig", "kty": "EC", "kid": KEY_ID, "crv": "P-256", "alg": "ES256", "x": text(x), "y": text(y)});
    KeySet::parse(json!({"issuer": ISSUER}).to_string(), json!({"keys": [key]}).to_string()).expect("a key")
});

static HEADER: LazyLock<String> = LazyLock::new(|| json!({"alg": "ES256", "kid": KEY_ID}).to_string());

/// What the only honest token says.
static HONEST: LazyLock<(String, Verified)> = LazyLock::new(|| {
    let claims = json!({
        "aud": [TOKEN_AUDIENCE], "iss": ISSUER, "exp": NOW + 86_400,
        "kubernetes.io": {
            "namespace": "ort", "node": {"name": "node-1", "uid": "n"}, "pod": {"name": "p", "uid": "pod"},
            "serviceaccount": {"name": "default", "uid": "s"},
        },
    });
    let token = sign(HEADER.as_bytes(), claims.to_string().as_bytes());
    let verified = verify(&token, &KEYS, NOW).expect("it is honest");
    (token, verified)
});

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind {
        b't' => token(data),
        b'c' => claims_of(data),
        b'h' => header(data),
        b'k' => keys(data),
        _ => {}
    }
});

fn sign(header: &[u8], claims: &[u8]) -> String {
    let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature: Signature = SIGNER.sign(message.as_bytes());
    [message, URL_SAFE_NO_PAD.encode(signature.to_bytes())].join(".")
}

/// Bytes that the API server has not signed. A byte `*` in a seed stands for the honest token, so that the fuzzer changes that.
fn token(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (honest, says) = &*HONEST;
    let text = text.replacen('*', honest, 1);
    if let Ok(verified) = verify(&text, &KEYS, NOW) {
        assert_eq!(verified, *says, "a forged token: {text}");
    }
}

/// Claims that the API server has signed.
fn claims_of(data: &[u8]) {
    let Ok(verified) = verify(&sign(HEADER.as_bytes(), data), &KEYS, NOW) else { return };
    // Of members that nobody reads, serde does not check the escapes.
    let Ok(claims) = serde_json::from_slice::<Value>(data) else { return };
    let names = |value: &Value, name: &str| match value {
        Value::Array(all) => all.iter().any(|one| one == name),
        one => one == name,
    };
    assert!(names(&claims["aud"], TOKEN_AUDIENCE), "for another: {claims}");
    assert!(names(&claims["iss"], ISSUER), "by another: {claims}");
    assert!(
        !verified.expired(NOW) && claims["exp"].as_u64().is_some_and(|expiry| expiry + 60 > NOW),
        "expired: {claims}"
    );
    let (bound, bearer) = (&claims["kubernetes.io"], &*verified.bearer);
    assert_eq!(bound["namespace"], bearer.namespace);
    assert_eq!(bound["serviceaccount"]["name"], bearer.service_account);
    assert_eq!(bound["pod"]["uid"].as_str().unwrap_or_default(), bearer.pod.as_str());
    assert_eq!(bound["node"]["name"].as_str(), bearer.node.as_ref().map(|node| node.as_str()));
}

/// A header that the API server has signed: it names a key, and nothing else of it counts.
fn header(data: &[u8]) {
    let honest = &HONEST.0;
    let claims = honest.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok()).expect("a token");
    if verify(&sign(data, &claims), &KEYS, NOW).is_ok() {
        let header: Value = serde_json::from_slice(data).expect("an accepted header is JSON");
        assert_eq!((&header["alg"], &header["kid"]), (&json!("ES256"), &json!(KEY_ID)));
    }
}

/// A JSON Web Key Set.
fn keys(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(keys) = KeySet::parse(json!({"issuer": ISSUER}).to_string(), text.to_owned()) else { return };
    assert!(keys.len() > 0, "a set without a key is an error");
    let Ok(Value::Object(document)) = serde_json::from_str(text) else { panic!("accepted keys are JSON") };
    for raw in document["keys"].as_array().into_iter().flatten() {
        let Some(key) = raw["kid"].as_str().and_then(|id| keys.key(id)) else { continue };
        assert!(matches!(key.algorithm, Algorithm::ES256 | Algorithm::RS256), "{raw}");
    }
    // A token of another issuer's key is rejected, or says what it says, whatever the key is.
    let _ = verify(&HONEST.0, &keys, NOW);
}
