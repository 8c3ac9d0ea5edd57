//! A serving certificate that lives in a Secret of type `kubernetes.io/tls` and is followed while it changes.

use std::pin::pin;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher},
};

use crate::{
    shutdown::Shutdown,
    tls::{ServerIdentity, TlsError},
};

/// Why a Secret was not taken.
#[derive(Debug, thiserror::Error)]
enum SecretError {
    #[error("it has no key {0}")]
    Missing(&'static str),
    #[error("its ca.crt is not UTF-8")]
    NotText,
    #[error("its tls.crt or tls.key is of no use")]
    Tls(#[source] TlsError),
}

/// Presents what the Secret `namespace/name` holds in `tls.crt` and `tls.key`, and tells `on_ca` its `ca.crt`, now and
/// whenever it changes; returns at shutdown.
///
/// The Secret need not exist yet. One that is broken or deleted is logged, and the certificate there was stays. It needs
/// leave to get, list and watch this one Secret by name.
pub async fn follow_tls_secret(
    client: Client,
    namespace: &str,
    name: &str,
    identity: ServerIdentity,
    on_ca: impl Fn(String),
    shutdown: Shutdown,
) {
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    // The watcher starts again by itself after 410 and whatever else the API server does; the backoff paces it.
    let mut events = pin!(watcher::watch_object(secrets, name).default_backoff());
    let mut last_ca = None;
    loop {
        let event = tokio::select! {
            () = shutdown.requested() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(Some(secret))) => match apply(&secret, &identity) {
                Ok(ca) => {
                    tracing::info!(namespace, secret = name, not_after = ?identity.not_after(), "serving certificate loaded");
                    if last_ca.as_ref() != Some(&ca) {
                        on_ca(ca.clone());
                        last_ca = Some(ca);
                    }
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(
                        namespace,
                        secret = name,
                        error,
                        "the Secret is broken; keeping the certificate there is"
                    );
                }
            },
            Some(Ok(None)) => tracing::warn!(namespace, secret = name, "the Secret does not exist; waiting for it"),
            Some(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(namespace, secret = name, error, "cannot watch the Secret; trying again");
            }
            // The watcher never ends; should it, there is nothing left to follow.
            None => return shutdown.requested().await,
        }
    }
}

/// Presents the pair of `secret` and returns its CA bundle; takes nothing of a broken one.
fn apply(secret: &Secret, identity: &ServerIdentity) -> Result<String, SecretError> {
    let value = |key: &'static str| {
        let data = secret.data.as_ref().and_then(|data| data.get(key));
        data.map(|bytes| bytes.0.as_slice()).ok_or(SecretError::Missing(key))
    };
    let ca = String::from_utf8(value("ca.crt")?.to_vec()).map_err(|_| SecretError::NotText)?;
    identity.set_pem(value("tls.crt")?, value("tls.key")?).map_err(SecretError::Tls)?;
    Ok(ca)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;
    use crate::tls::issued::{Issued, issue};

    fn secret(issued: &Issued) -> Secret {
        let values = [("tls.crt", &issued.chain), ("tls.key", &issued.key), ("ca.crt", &issued.ca)];
        let data = values.map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())));
        Secret { data: Some(data.into()), ..Secret::default() }
    }

    #[test]
    fn a_whole_secret_is_presented_and_its_ca_told() {
        let (issued, identity) = (issue(), ServerIdentity::new());
        assert_eq!(apply(&secret(&issued), &identity).expect("a whole Secret"), issued.ca);
        assert!(identity.not_after().is_some());
    }

    #[test]
    fn of_a_broken_secret_nothing_is_taken() {
        let (issued, identity) = (issue(), ServerIdentity::new());
        for key in ["tls.crt", "tls.key", "ca.crt"] {
            let mut broken = secret(&issued);
            broken.data.get_or_insert_default().remove(key);
            let error = apply(&broken, &identity).expect_err("a key is missing");
            assert!(matches!(error, SecretError::Missing(missing) if missing == key), "{error}");
            assert_eq!(identity.not_after(), None);
        }
    }
}
