//! The keys with which the API server signs the tokens of service accounts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::Request;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk},
};
use kube::Client;
use serde::Deserialize;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

/// Where the API server serves its `OpenID` Connect discovery document and keys (KEP-1393). Every service account may read
/// them by default (`ClusterRole` `system:service-account-issuer-discovery`).
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
const KEYS_PATH: &str = "/openid/v1/jwks";

/// How often the keys are read at most, whoever presents tokens with keys nobody knows, and after a failure.
const REFRESH_AT_MOST_EVERY: Duration = Duration::from_secs(10);

/// How long after that the keys are read again though nothing asks for it.
const REFRESH_AFTER: Duration = Duration::from_mins(5);

/// How long the API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The API server could not be asked.
    #[error("cannot read {path} of the API server")]
    Read {
        /// What was asked for.
        path: &'static str,
        /// Why not.
        source: kube::Error,
    },
    /// It did not answer in time.
    #[error("the API server did not answer within {} s", PATIENCE.as_secs())]
    TimedOut,
    /// The answer is none.
    #[error("{path} of the API server is not what it should be")]
    Parse {
        /// What was asked for.
        path: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
    /// There is no key of use.
    #[error("the API server has no key for ES256 or RS256, so that tokens cannot be verified")]
    NoKey,
}

/// The keys of one issuer, by their IDs.
#[derive(Debug)]
pub struct KeySet {
    issuer: String,
    keys: HashMap<String, Key>,
    /// What it was made of.
    source: [String; 2],
}

/// A key, and the one algorithm it is good for: what the header of a token says about that is not trusted.
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
    /// Reads a discovery document and a JSON Web Key Set. Keys of other kinds than ES256's and RS256's are left out.
    pub fn parse(discovery: String, key_set: String) -> Result<Self, KeysError> {
        let Discovery { issuer } =
            serde_json::from_str(&discovery).map_err(|source| KeysError::Parse { path: DISCOVERY_PATH, source })?;
        let RawKeys { keys } =
            serde_json::from_str(&key_set).map_err(|source| KeysError::Parse { path: KEYS_PATH, source })?;
        let keys: HashMap<_, _> = keys.into_iter().filter_map(key).collect();
        if keys.is_empty() {
            return Err(KeysError::NoKey);
        }
        Ok(Self { issuer, keys, source: [discovery, key_set] })
    }

    /// Who issues the tokens: their `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The key of this ID.
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

/// The keys as they were last read; they stay while the API server is away.
#[derive(Clone, Debug, Default)]
pub struct KeyRing(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    current: ArcSwapOption<KeySet>,
    wanted: Notify,
}

impl KeyRing {
    /// Without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// The keys, once they were read.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.0.current.load_full()
    }

    /// Takes these keys. Keys that are the same as before stay the same object.
    pub fn set(&self, keys: KeySet) {
        if self.current().is_none_or(|current| current.source != keys.source) {
            tracing::info!(issuer = keys.issuer, keys = keys.keys.len(), "keys of the API server loaded");
            self.0.current.store(Some(Arc::new(keys)));
        }
    }

    /// Asks for the keys to be read again soon, for a token names one that is not there.
    pub fn want_newer(&self) {
        self.0.wanted.notify_one();
    }

    /// Reads the keys, now and whenever it is time; never returns.
    pub async fn follow(self, client: Client) {
        loop {
            match fetch(&client).await {
                Ok(keys) => self.set(keys),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, known = self.current().is_some(), "cannot renew the keys of the API server");
                }
            }
            sleep(REFRESH_AT_MOST_EVERY).await;
            if self.current().is_some() {
                // Either is reason enough to read them again.
                let _ = timeout(REFRESH_AFTER, self.0.wanted.notified()).await;
            }
        }
    }
}

async fn fetch(client: &Client) -> Result<KeySet, KeysError> {
    let both = async { KeySet::parse(get(client, DISCOVERY_PATH).await?, get(client, KEYS_PATH).await?) };
    timeout(PATIENCE, both).await.map_err(|_| KeysError::TimedOut)?
}

async fn get(client: &Client, path: &'static str) -> Result<String, KeysError> {
    let request = Request::get(path).body(Vec::new()).expect("the path is a constant");
    client.request_text(request).await.map_err(|source| KeysError::Read { path, source })
}

#[cfg(test)]
mod tests {
    use http::Response;
    use serde_json::json;
    use tokio::time::Instant;
    use tower_test::mock::Handle;

    use super::*;
    use crate::intake::token::fixture::{ISSUER, Signer, key_set};

    #[test]
    fn only_keys_of_the_two_algorithms_are_taken() {
        let good = Signer::new("good").jwk();
        let odd = json!([
            good,
            {"kty": "oct", "kid": "hmac", "k": "c2VjcmV0"},
            {"kty": "EC", "crv": "P-384", "kid": "p384", "x": "AA", "y": "AA"},
            {"kty": "made up", "kid": "odd"},
            {"kty": "EC"},
            17,
        ]);
        let keys = KeySet::parse(json!({"issuer": ISSUER}).to_string(), json!({"keys": odd}).to_string())
            .expect("one is good");
        assert_eq!(keys.keys.keys().collect::<Vec<_>>(), ["good"]);
        assert_eq!(keys.issuer(), ISSUER);
    }

    #[test]
    fn no_key_at_all_is_an_error() {
        let result = KeySet::parse(json!({"issuer": ISSUER}).to_string(), json!({"keys": []}).to_string());
        assert!(matches!(result, Err(KeysError::NoKey)));
    }

    #[test]
    fn the_same_keys_read_again_stay_the_same_object() {
        let ring = KeyRing::new();
        let signer = Signer::new("one");
        ring.set(key_set(&[&signer]));
        let first = ring.current().expect("set");
        ring.set(key_set(&[&signer]));
        assert!(Arc::ptr_eq(&first, &ring.current().expect("set")));
        ring.set(key_set(&[&Signer::new("two")]));
        assert!(!Arc::ptr_eq(&first, &ring.current().expect("set")));
    }

    type ApiServer = Handle<Request<kube::client::Body>, Response<kube::client::Body>>;

    async fn answer(server: &mut ApiServer, path: &str, status: u16, body: String) {
        let (request, send) = server.next_request().await.expect("a request");
        assert_eq!(request.uri().path(), path);
        let body = kube::client::Body::from(body.into_bytes());
        send.send_response(Response::builder().status(status).body(body).expect("a response"));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_read_again_when_asked_for_and_kept_while_the_api_server_is_away() {
        let (service, mut server) = tower_test::mock::pair();
        let (ring, started) = (KeyRing::new(), Instant::now());
        let following = tokio::spawn(ring.clone().follow(Client::new(service, "default")));
        let discovery = || json!({"issuer": ISSUER}).to_string();
        let keys = |id: &str| json!({"keys": [Signer::new(id).jwk()]}).to_string();
        answer(&mut server, DISCOVERY_PATH, 200, discovery()).await;
        answer(&mut server, KEYS_PATH, 200, keys("one")).await;

        // However often they are asked for, they are not read more often than allowed.
        ring.want_newer();
        ring.want_newer();
        answer(&mut server, DISCOVERY_PATH, 503, "away".to_owned()).await;
        assert_eq!(started.elapsed(), REFRESH_AT_MOST_EVERY);
        assert!(ring.current().is_some_and(|keys| keys.key("one").is_some()));

        // Nobody asks: they are read again all the same.
        answer(&mut server, DISCOVERY_PATH, 200, discovery()).await;
        assert_eq!(started.elapsed(), REFRESH_AT_MOST_EVERY * 2 + REFRESH_AFTER);
        answer(&mut server, KEYS_PATH, 200, keys("two")).await;
        let (_request, _send) = server.next_request().await.expect("and again");
        assert!(ring.current().is_some_and(|keys| keys.key("two").is_some()));
        following.abort();
    }
}
