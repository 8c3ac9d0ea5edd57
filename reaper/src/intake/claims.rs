//! What a token claims, and whether that is true: its signature, audience, issuer and expiry. Pure: `fuzz/src/token.rs` compiles this
//! file too.

use std::{sync::Arc, time::Duration};

use jobwarden_common::names::TOKEN_AUDIENCE;
use jsonwebtoken::{Validation, errors::ErrorKind};
use serde::Deserialize;

use super::{bearer::Bearer, key_set::KeySet};

/// How long after its expiry a token is still accepted, because the clocks of the reaper and the API server may differ. This does
/// not have to cover a kubelet that cannot renew tokens: a token is valid for a day.
const LEEWAY: Duration = Duration::from_mins(1);

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not one that the API server issues for pods.
    #[error("the token is not a pod-bound service account token")]
    Malformed,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It has another audience.
    #[error("the token does not have the audience {TOKEN_AUDIENCE}")]
    Audience,
    /// It was issued by another cluster.
    #[error("the token has an unknown issuer")]
    Issuer,
    /// It is forged, or signed with a key that is not known (yet).
    #[error("the signature of the token cannot be verified")]
    Signature,
}

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) bearer: Arc<Bearer>,
    /// Seconds since the Unix epoch.
    expires: u64,
}

impl Verified {
    pub(super) fn expired(&self, now: u64) -> bool {
        self.expires.saturating_add(LEEWAY.as_secs()) <= now
    }
}

/// What `token` says, if it is signed with one of `keys`, for this reaper, and valid at `now`, in seconds since the Unix epoch.
pub(super) fn verify(token: &str, keys: &KeySet, now: u64) -> Result<Verified, TokenError> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
    let key = header.kid.as_deref().and_then(|id| keys.key(id)).ok_or(TokenError::Signature)?;
    // Only the key's algorithm is allowed: a header with another one (`none`, HMAC with the public key) is rejected.
    let mut validation = Validation::new(key.algorithm);
    validation.set_required_spec_claims(&["aud", "exp", "iss"]);
    validation.set_audience(&[TOKEN_AUDIENCE]);
    validation.set_issuer(&[keys.issuer()]);
    // Checked below against `now`.
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &validation).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        _ => TokenError::Malformed,
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
    if verified.expired(now) { Err(TokenError::Expired) } else { Ok(verified) }
}
