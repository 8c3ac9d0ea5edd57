//! Signatures by Standard Webhooks 1.0 (<https://www.standardwebhooks.com>), by which a receiver verifies the sender and detects
//! replays. The reaper signs, `jobwarden listen` verifies.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

/// The header with the ID of a notification, by which receivers deduplicate.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of an attempt, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures, one for each secret.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// How far the timestamp of an attempt may be from the receiver's clock, in both directions: that of the reference libraries of Standard
/// Webhooks.
pub const TOLERANCE: Duration = Duration::from_mins(5);

/// The prefix of a secret.
const PREFIX: &str = "whsec_";
/// The version of the signatures by a shared secret. `v1a` is that of public keys.
const VERSION: &str = "v1";

/// The signing secrets of a sink. During a rotation there are several, and each makes a signature.
#[derive(Clone)]
pub struct Secrets(Vec<Vec<u8>>);

/// Why a secret file is not valid. The error never contains the secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// The file is empty.
    #[error("the secret file is empty; expected lines of whsec_<base64>")]
    Empty,
    /// A line is not a secret.
    #[error("line {0} of the secret file is not whsec_<base64>")]
    Line(usize),
}

/// Why a signature was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The timestamp is not a number.
    #[error("{TIMESTAMP_HEADER} is not a number of seconds since 1970")]
    Timestamp,
    /// The timestamp is too old: a replay, or a clock that is wrong.
    #[error("{TIMESTAMP_HEADER} is {0} s old; at most {max} s are accepted, so this is a replay or a clock is wrong", max = TOLERANCE.as_secs())]
    TooOld(u64),
    /// The timestamp is in the future.
    #[error("{TIMESTAMP_HEADER} is {0} s in the future; at most {max} s are accepted, so a clock is wrong", max = TOLERANCE.as_secs())]
    TooNew(u64),
    /// There is no signature by a shared secret.
    #[error("{SIGNATURE_HEADER} has no signature of version {VERSION}")]
    NoSignature,
    /// No signature is that of a secret.
    #[error(
        "no signature matches a secret: the secret is another one, or the ID, the timestamp or the body was changed"
    )]
    Mismatch,
}

impl Secrets {
    /// Parses one secret per line.
    pub fn parse(text: &str) -> Result<Self, SecretsError> {
        let lines =
            text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())).filter(|(_, line)| !line.is_empty());
        let secret = |(at, line): (usize, &str)| {
            let encoded = line.strip_prefix(PREFIX).ok_or(SecretsError::Line(at))?;
            let key = STANDARD.decode(encoded).map_err(|_| SecretsError::Line(at))?;
            if key.is_empty() { Err(SecretsError::Line(at)) } else { Ok(key) }
        };
        let secrets = lines.map(secret).collect::<Result<Vec<_>, _>>()?;
        if secrets.is_empty() { Err(SecretsError::Empty) } else { Ok(Self(secrets)) }
    }

    /// The value of the header `webhook-signature`.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let mac = |key: &Vec<u8>| STANDARD.encode(mac(key, id, at.as_second(), body).finalize().into_bytes());
        let signatures: Vec<_> = self.0.iter().map(|key| format!("{VERSION},{}", mac(key))).collect();
        signatures.join(" ")
    }

    /// Verifies a notification by its headers `webhook-id`, `webhook-timestamp` and `webhook-signature`. One signature that matches one of
    /// the secrets is enough, so that both sides can change their secrets one after the other.
    pub fn verify(
        &self,
        id: &str,
        timestamp: &str,
        signatures: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), VerifyError> {
        let second = second(timestamp)?;
        let (age, most) = (now.as_second() - second, i64::try_from(TOLERANCE.as_secs()).unwrap_or(i64::MAX));
        if age > most {
            return Err(VerifyError::TooOld(age.unsigned_abs()));
        }
        if age < -most {
            return Err(VerifyError::TooNew(age.unsigned_abs()));
        }
        let encoded = |signature: &str| Some(signature.strip_prefix(VERSION)?.strip_prefix(',')?.to_owned());
        let signatures: Vec<String> = signatures.split(' ').filter_map(encoded).collect();
        if signatures.is_empty() {
            return Err(VerifyError::NoSignature);
        }
        let signatures: Vec<Vec<u8>> = signatures.iter().filter_map(|text| STANDARD.decode(text).ok()).collect();
        let is_valid = self.0.iter().any(|key| {
            let mac = mac(key, id, second, body);
            // `verify_slice` compares in constant time.
            signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
        });
        if is_valid { Ok(()) } else { Err(VerifyError::Mismatch) }
    }
}

/// Shows the number of secrets only.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// A timestamp in digits alone: `+1`, which `parse` accepts, would be signed as `1`.
fn second(timestamp: &str) -> Result<i64, VerifyError> {
    let is_number = timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let second = timestamp.parse().ok().filter(|_| is_number).and_then(|second| Timestamp::from_second(second).ok());
    second.map(Timestamp::as_second).ok_or(VerifyError::Timestamp)
}

/// The code over `<id>.<timestamp>.<body>`, not finalized.
fn mac(key: &[u8], id: &str, second: i64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104)");
    mac.update(format!("{id}.{second}.").as_bytes());
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests;
