//! The keys with which the API server signs service account tokens.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::Request;
use kube::Client;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::key_set::{DISCOVERY_PATH, KEYS_PATH, KeySet, KeySetError};

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
    /// The response has no usable key.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
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
        if self.current().is_none_or(|current| !current.has_source_of(&keys)) {
            tracing::info!(
                issuer = keys.issuer(),
                keys = keys.len(),
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
    let both = async { Ok(KeySet::parse(get(client, DISCOVERY_PATH).await?, get(client, KEYS_PATH).await?)?) };
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
