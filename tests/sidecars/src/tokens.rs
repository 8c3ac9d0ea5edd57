//! Tokens of pods, signed with the API server's key. They are the same as the results of ten thousand `TokenRequest`s.

use std::{fs, str::FromStr};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};

/// A pod whose sidecar is simulated.
pub(crate) struct Pod {
    uid: String,
    name: String,
    node: String,
}

impl FromStr for Pod {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut word = || words.next().with_context(|| format!("{line:?} is not a pod: expected UID, name and node"));
        Ok(Self { uid: word()?, name: word()?, node: word()? })
    }
}

/// Signs tokens that resemble an example.
pub(crate) struct Signer {
    header: Header,
    claims: Value,
    key: EncodingKey,
}

impl Signer {
    /// Uses the key in the PEM file `key` and the example token in the file `token`.
    pub(crate) fn new(key: &str, token: &str) -> anyhow::Result<Self> {
        let key = PrivatePkcs8KeyDer::from_pem_file(key).with_context(|| format!("reading {key}"))?;
        let token = fs::read_to_string(token).with_context(|| format!("reading {token}"))?;
        let kid = jsonwebtoken::decode_header(token.trim()).context("decoding the header of the example token")?.kid;
        ensure!(kid.is_some(), "the example token has no key ID");
        let claims = token.split('.').nth(1).context("the example is not a token")?;
        let claims = URL_SAFE_NO_PAD.decode(claims).context("decoding the claims of the example token")?;
        Ok(Self {
            header: Header { kid, ..Header::new(Algorithm::ES256) },
            claims: serde_json::from_slice(&claims).context("decoding the claims of the example token")?,
            key: EncodingKey::from_ec_der(key.secret_pkcs8_der()),
        })
    }

    /// The `Authorization` header of this pod's sidecar.
    pub(crate) fn authorization(&self, pod: &Pod) -> anyhow::Result<HeaderValue> {
        let mut claims = self.claims.clone();
        let bound = &mut claims["kubernetes.io"];
        bound["pod"] = json!({"name": pod.name, "uid": pod.uid});
        bound["node"]["name"] = json!(pod.node);
        claims["jti"] = json!(format!("{:032x}", fastrand::u128(..)));
        let token = jsonwebtoken::encode(&self.header, &claims, &self.key).context("signing a token")?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}
