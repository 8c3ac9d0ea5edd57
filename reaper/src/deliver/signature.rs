//! Signatures by Standard Webhooks 1.0 (<https://www.standardwebhooks.com>), by which a receiver verifies the sender and detects
//! replays.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

/// The prefix of a secret.
const PREFIX: &str = "whsec_";

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

impl Secrets {
    /// Parses one secret per line.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no secret or a line is not one.
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
        let signatures: Vec<_> =
            self.0.iter().map(|key| format!("v1,{}", STANDARD.encode(mac(key, id, at, body)))).collect();
        signatures.join(" ")
    }
}

/// Shows the number of secrets only.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

fn mac(key: &[u8], id: &str, at: Timestamp, body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104)");
    mac.update(format!("{id}.{}.", at.as_second()).as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the specification's reference libraries.
        let secrets = Secrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").expect("valid");
        let at = Timestamp::from_second(1_614_265_330).expect("in range");
        let signature = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_makes_a_signature() {
        let secrets = Secrets::parse("whsec_AAAA\n\nwhsec_BBBB\n").expect("valid");
        assert_eq!(secrets.sign("id", Timestamp::UNIX_EPOCH, b"{}").split(' ').count(), 2);
    }

    #[rstest]
    #[case("", SecretsError::Empty)]
    #[case("\n \n", SecretsError::Empty)]
    #[case("secret", SecretsError::Line(1))]
    #[case("whsec_AAAA\nwhsec_?", SecretsError::Line(2))]
    #[case("whsec_", SecretsError::Line(1))]
    fn an_invalid_secret_file_is_rejected(#[case] text: &str, #[case] error: SecretsError) {
        assert_eq!(Secrets::parse(text).expect_err("no secret"), error);
    }

    #[test]
    fn debug_output_does_not_show_the_secret() {
        let secrets = Secrets::parse("whsec_AAAA").expect("valid");
        assert_eq!(format!("{secrets:?}"), "Secrets(1)");
    }
}
