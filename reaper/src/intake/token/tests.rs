//! Valid tokens, and every kind of invalid one.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    fixture::{ISSUER, NOW, Signer, claims, key_set},
    *,
};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A verifier that knows the key of `signer`.
fn mk_verifier(signer: &Signer) -> Verifier {
    let ring = KeyRing::new();
    ring.set(key_set(&[signer]));
    Verifier::new(ring, None)
}

async fn rejection_reason(verifier: &Verifier, token: &str) -> &'static str {
    verifier.verify(token, at(NOW)).await.expect_err("rejected").as_str()
}

#[tokio::test]
async fn a_valid_token_identifies_its_pod_every_time() {
    let signer = Signer::new("k");
    let verifier = mk_verifier(&signer);
    let token = signer.sign(&claims("pod", "node-1"));
    let expected = Bearer {
        pod: "pod".into(),
        node: Some("node-1".into()),
        namespace: "ort".to_owned(),
        service_account: "default".to_owned(),
    };
    for _ in 0..3 {
        assert_eq!(*verifier.verify(&token, at(NOW)).await.expect("valid"), expected);
    }
    assert_eq!(verifier.cache.lock().expect("not poisoned").tokens.len(), 1);
}

/// Made with `openssl dgst -sha256 -sign`; the private key is gone.
#[tokio::test]
async fn an_rs256_token_is_verified() {
    const N: &str = "tthNYBB_mjKWrqQig1cFrp_F1d05s2A0IQlRKJ6tUWW0BgmKR6UZMjo1T1YSt65_uwvSkJhJoxfx3UHjuTkZwrqGy6oL9VXibgyc\
        7fgzXwS9CrGm19hMpjAR9PjRFnfhyMLPkHBYqP7dRgMI3aInDc-KNMSWjFJERzBxRfSPmr21uESxSzjZVcBTV4K-fQK1dbLR-rdr\
        p52h3QntUMw35p739Yw4pQC5WMW2n82Zim50Zh8Y_2HAQTWPFpJakXw8Scnxu-f5EXW9mHKpmJJpviTMieJSlwjoNnCMhAp-0htv\
        z8pwPxbOaCW4uETcm47EZMBP6UwIXeWwg71uqDf2Xw";
    const TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSJ9.eyJhdWQiOlsiam9id2FyZGVuLXJlYXBlciJdLCJpc3MiOiJodHRwczovL2t1YmV\
        ybmV0ZXMuZGVmYXVsdC5zdmMuY2x1c3Rlci5sb2NhbCIsImV4cCI6MTgwMDA4NjQwMCwia3ViZXJuZXRlcy5pbyI6eyJuYW1lc3B\
        hY2UiOiJvcnQiLCJwb2QiOnsibmFtZSI6InAiLCJ1aWQiOiJwb2QifSwic2VydmljZWFjY291bnQiOnsibmFtZSI6ImRlZmF1bHQ\
        iLCJ1aWQiOiJzIn19fQ.NYvK7BHKGReska4eTu4f6obYkWu0MiOQLILkHeEtiRROpgwDcO2S7bdMybqE-Nryr6zaAEgQb12GBpvT\
        yDPbi590RZN1Ic2a4ZD82pNPFMpHTWTCQqzVJOEUbaxL6zQ3hHGyL8u6RSn9FsB6RoAfQvHHs1sT-u-OL2iUso3Q53BCWLxIX9yA\
        r9gqD0Z8fT7SxJEP7SuLBjbaPB4yhmm2SaNaPFE_QQJyUXOi7Wv7fj54yuq9jX8GUUDSLsFOy3UQUvwA3MeVhr7OZynatFF8PknK\
        Ycnr1NTKlFMFRXq31k6C1fmvrXctuXRMjNurx9jG4U8Mlh92pdIG1z6b6QA9HA";
    let jwk = json!({"use": "sig", "kty": "RSA", "kid": "rsa", "alg": "RS256", "n": N, "e": "AQAB"});
    let keys = KeySet::parse(json!({"issuer": ISSUER}).to_string(), json!({"keys": [jwk]}).to_string());
    let ring = KeyRing::new();
    ring.set(keys.expect("a valid key"));
    let verifier = Verifier::new(ring, None);
    let bearer = verifier.verify(TOKEN, at(NOW)).await.expect("valid");
    assert_eq!((bearer.pod.as_str(), bearer.node.as_ref()), ("pod", None));

    let (signed, _) = TOKEN.rsplit_once('.').expect("it has three parts");
    let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode([7; 256]));
    assert_eq!(rejection_reason(&verifier, &forged).await, "signature");
}

#[rstest]
#[case::another_audience("/aud", json!(["https://kubernetes.default.svc"]), "audience")]
#[case::no_audience("/aud", json!([]), "audience")]
#[case::audience_of_another_type("/aud", json!(7), "malformed")]
#[case::another_cluster("/iss", json!("https://elsewhere"), "issuer")]
#[case::no_issuer("/iss", json!(null), "malformed")]
#[case::expired("/exp", json!(NOW - 3600), "expired")]
#[case::expired_by_just_the_leeway("/exp", json!(NOW - 60), "expired")]
#[case::no_expiry("/exp", json!(null), "malformed")]
#[case::expiry_of_another_type("/exp", json!("never"), "malformed")]
#[case::not_bound_to_a_pod("/kubernetes.io/pod", json!(null), "malformed")]
#[case::not_of_kubernetes("/kubernetes.io", json!(null), "malformed")]
#[tokio::test]
async fn a_token_with_a_wrong_claim_is_rejected(#[case] at: &str, #[case] value: Value, #[case] reason: &str) {
    let signer = Signer::new("k");
    let mut claims = claims("pod", "node-1");
    *claims.pointer_mut(at).expect("there") = value;
    assert_eq!(rejection_reason(&mk_verifier(&signer), &signer.sign(&claims)).await, reason);
}

#[tokio::test]
async fn an_expired_token_is_accepted_within_the_leeway() {
    let signer = Signer::new("k");
    let verifier = mk_verifier(&signer);
    let mut claims = claims("pod", "node-1");
    claims["exp"] = json!(NOW - 59);
    let token = signer.sign(&claims);
    assert!(verifier.verify(&token, at(NOW)).await.is_ok());
    // A cached token expires, too.
    let later = verifier.verify(&token, at(NOW + 1)).await.expect_err("expired");
    assert_eq!(later.as_str(), "expired");
}

#[tokio::test]
async fn a_token_signed_with_another_key_of_the_same_id_is_rejected() {
    let forged = Signer::new("k").sign(&claims("pod", "node-1"));
    assert_eq!(rejection_reason(&mk_verifier(&Signer::new("k")), &forged).await, "signature");
}

#[tokio::test]
async fn a_token_with_a_new_key_is_accepted_after_a_refresh() {
    let verifier = mk_verifier(&Signer::new("old"));
    let new = Signer::new("new");
    let token = new.sign(&claims("pod", "node-1"));
    assert_eq!(rejection_reason(&verifier, &token).await, "signature");
    verifier.ring.set(key_set(&[&new]));
    assert!(verifier.verify(&token, at(NOW)).await.is_ok());
}

#[tokio::test]
async fn a_cached_token_of_a_withdrawn_key_is_rejected() {
    let old = Signer::new("old");
    let verifier = mk_verifier(&old);
    let token = old.sign(&claims("pod", "node-1"));
    assert!(verifier.verify(&token, at(NOW)).await.is_ok());
    verifier.ring.set(key_set(&[&Signer::new("new")]));
    assert_eq!(rejection_reason(&verifier, &token).await, "signature");
}

fn unsigned(header: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(&claims("pod", "node-1")))
}

#[tokio::test]
async fn an_unsigned_token_is_rejected() {
    let verifier = mk_verifier(&Signer::new("k"));
    for algorithm in ["none", "None", "NONE"] {
        let token = unsigned(&json!({"alg": algorithm, "kid": "k"}));
        assert_eq!(rejection_reason(&verifier, &token).await, "malformed");
    }
    assert_eq!(rejection_reason(&verifier, &unsigned(&json!({"alg": "ES256", "kid": "k"}))).await, "signature");
}

#[tokio::test]
async fn a_token_signed_by_hmac_with_the_public_key_is_rejected() {
    let signer = Signer::new("k");
    let header = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::HS256) };
    let token = jsonwebtoken::encode(&header, &claims("pod", "node-1"), &EncodingKey::from_secret(signer.public()))
        .expect("any secret is allowed");
    assert_eq!(rejection_reason(&mk_verifier(&signer), &token).await, "malformed");
}

#[rstest]
#[case::empty("")]
#[case::word("token")]
#[case::dots("..")]
#[case::four_parts("a.b.c.d")]
#[case::long(&"x".repeat(10_000))]
#[tokio::test]
async fn text_that_is_not_a_token_is_malformed(#[case] token: &str) {
    assert_eq!(rejection_reason(&mk_verifier(&Signer::new("k")), token).await, "malformed");
}

#[tokio::test]
async fn without_keys_and_reviewer_no_token_is_verified() {
    let token = Signer::new("k").sign(&claims("pod", "node-1"));
    assert_eq!(rejection_reason(&Verifier::new(KeyRing::new(), None), &token).await, "unverifiable");
}
