//! A serving certificate from a Secret with the keys of the type `kubernetes.io/tls`, which is watched for changes.

use std::{collections::BTreeMap, pin::pin};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher},
};

use crate::{
    logs::with_causes,
    shutdown::Shutdown,
    tls::{ServerIdentity, TlsError},
};

/// Why a Secret was rejected.
#[derive(Debug, thiserror::Error)]
enum SecretError {
    #[error("key {0} is missing")]
    Missing(&'static str),
    #[error("ca.crt is not UTF-8")]
    NotText,
    #[error("tls.crt or tls.key is invalid")]
    Tls(#[source] TlsError),
}

/// Makes `identity` present `tls.crt` and `tls.key` of the Secret `namespace/name` and calls `on_ca` with its `ca.crt`, now and
/// after each change; returns at shutdown.
///
/// The Secret may be empty or missing at first. A broken, empty or deleted Secret is logged, and the previous certificate stays in use. The service
/// account needs permission to get, list and watch this one Secret by name.
pub async fn follow_tls_secret(
    client: Client,
    namespace: &str,
    name: &str,
    identity: ServerIdentity,
    on_ca: impl Fn(String),
    shutdown: Shutdown,
) {
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    // The watcher restarts by itself after 410 Gone and other errors; the backoff paces it.
    let mut events = pin!(watcher::watch_object(secrets, name).default_backoff());
    let mut last_ca = None;
    loop {
        let event = tokio::select! {
            () = shutdown.requested() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(Some(secret))) if secret.data.as_ref().is_none_or(BTreeMap::is_empty) => {
                tracing::warn!(namespace, secret = name, "the Secret is empty; waiting until the webhook fills it");
            }
            Some(Ok(Some(secret))) => match apply(&secret, &identity) {
                Ok(ca) => {
                    tracing::info!(namespace, secret = name, not_after = ?identity.not_after(), "serving certificate loaded");
                    if last_ca.as_ref() != Some(&ca) {
                        on_ca(ca.clone());
                        last_ca = Some(ca);
                    }
                }
                Err(error) => {
                    let error = with_causes(&error);
                    tracing::error!(
                        namespace,
                        secret = name,
                        error,
                        "invalid Secret; keeping the previous certificate"
                    );
                }
            },
            Some(Ok(None)) => tracing::warn!(namespace, secret = name, "the Secret does not exist yet; waiting for it"),
            Some(Err(error)) => {
                let error = with_causes(&error);
                tracing::warn!(namespace, secret = name, error, "cannot watch the Secret; retrying");
            }
            // The watcher never ends.
            None => return shutdown.requested().await,
        }
    }
}

/// Presents the certificate and key of `secret` and returns its CA bundle. An invalid Secret changes nothing.
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
    fn a_complete_secret_is_presented_and_its_ca_returned() {
        let (issued, identity) = (issue(), ServerIdentity::new());
        assert_eq!(apply(&secret(&issued), &identity).expect("a complete Secret"), issued.ca);
        assert!(identity.not_after().is_some());
    }

    #[test]
    fn a_secret_with_a_missing_key_changes_nothing() {
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
