//! The keys with which the API server signs service account tokens.

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

/// The paths of the API server's `OpenID` Connect discovery document and keys (KEP-1393). Every service account may read both
/// by default (`ClusterRole` `system:service-account-issuer-discovery`).
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
const KEYS_PATH: &str = "/openid/v1/jwks";

/// The shortest time between two reads of the keys, however many tokens name unknown keys, and after a failure.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// How much longer than [`MIN_REFRESH_INTERVAL`] to wait if no token names an unknown key.
const REFRESH_AFTER: Duration = Duration::from_mins(5);

/// How long the API server may take to respond.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the keys cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The request failed.
    #[error("cannot read {path} from the API server")]
    Read {
        /// The requested path.
        path: &'static str,
        /// The cause.
        source: kube::Error,
    },
    /// The API server did not respond in time.
    #[error("the API server did not respond within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// The response is not valid.
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

/// The keys of one issuer by ID.
#[derive(Debug)]
pub struct KeySet {
    issuer: String,
    keys: HashMap<String, Key>,
    /// The documents that the keys were parsed from.
    source: [String; 2],
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

    /// The issuer of the tokens, their `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
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

/// The keys as last read. They stay in use while the API server is away.
#[derive(Clone, Debug, Default)]
pub struct KeyRing(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    current: ArcSwapOption<KeySet>,
    refresh: Notify,
}

impl KeyRing {
    /// A key ring without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// The keys; `None` until they were first read.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.0.current.load_full()
    }

    /// Replaces the keys. If nothing changed, the current object stays.
    pub fn set(&self, keys: KeySet) {
        if self.current().is_none_or(|current| current.source != keys.source) {
            tracing::info!(
                issuer = keys.issuer,
                keys = keys.keys.len(),
                "loaded the token signing keys of the API server"
            );
            self.0.current.store(Some(Arc::new(keys)));
        }
    }

    /// Requests an early refresh, because a token names an unknown key.
    pub fn request_refresh(&self) {
        self.0.refresh.notify_one();
    }

    /// Reads the keys now and at every refresh. Never returns.
    pub async fn follow(self, client: Client) {
        loop {
            match fetch(&client).await {
                Ok(keys) => self.set(keys),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(
                        error,
                        known = self.current().is_some(),
                        "cannot refresh the token signing keys of the API server; retrying"
                    );
                }
            }
            sleep(MIN_REFRESH_INTERVAL).await;
            if self.current().is_some() {
                // Both a request and the timeout start a refresh.
                let _ = timeout(REFRESH_AFTER, self.0.refresh.notified()).await;
            }
        }
    }
}

async fn fetch(client: &Client) -> Result<KeySet, KeysError> {
    let both = async { KeySet::parse(get(client, DISCOVERY_PATH).await?, get(client, KEYS_PATH).await?) };
    timeout(TIMEOUT, both).await.map_err(|_| KeysError::TimedOut)?
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
        assert!(matches!(result, Err(KeysError::NoKey)));
    }

    #[test]
    fn unchanged_keys_stay_the_same_object() {
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
    async fn keys_are_refreshed_on_request_and_kept_while_the_api_server_is_away() {
        let (service, mut server) = tower_test::mock::pair();
        let (ring, started) = (KeyRing::new(), Instant::now());
        let following = tokio::spawn(ring.clone().follow(Client::new(service, "default")));
        let discovery = || json!({"issuer": ISSUER}).to_string();
        let keys = |id: &str| json!({"keys": [Signer::new(id).jwk()]}).to_string();
        answer(&mut server, DISCOVERY_PATH, 200, discovery()).await;
        answer(&mut server, KEYS_PATH, 200, keys("one")).await;

        // Several requests cause one refresh, after the shortest interval.
        ring.request_refresh();
        ring.request_refresh();
        answer(&mut server, DISCOVERY_PATH, 503, "away".to_owned()).await;
        assert_eq!(started.elapsed(), MIN_REFRESH_INTERVAL);
        assert!(ring.current().is_some_and(|keys| keys.key("one").is_some()));

        // Without a request, the keys are refreshed later.
        answer(&mut server, DISCOVERY_PATH, 200, discovery()).await;
        assert_eq!(started.elapsed(), MIN_REFRESH_INTERVAL * 2 + REFRESH_AFTER);
        answer(&mut server, KEYS_PATH, 200, keys("two")).await;
        let (_request, _send) = server.next_request().await.expect("another refresh");
        assert!(ring.current().is_some_and(|keys| keys.key("two").is_some()));
        following.abort();
    }
}
