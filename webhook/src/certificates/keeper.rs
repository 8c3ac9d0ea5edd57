//! Sees that certificates, caBundle and endpoint are there, and stay.

use std::{
    error::Error,
    future::pending,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{Stream, StreamExt as _};
use jobwarden_common::names::object;
use jobwarden_serve::{admin::Gate, logs::with_causes, shutdown::Shutdown, tls::ServerIdentity};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::{sync::watch, time::sleep};

use super::{CertificateError, leaf, publication, secrets::Secrets};
use jobwarden_inject::endpoint::Endpoint;

/// How often everything is looked at, though nothing has been heard.
const RECHECK: Duration = Duration::from_mins(1);

/// How long after a failed round the next begins: at first, and at most. It doubles from one to the other.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long after a change a round begins, so that somebody who undoes our writes at once does not make it a race.
const SETTLE: Duration = Duration::from_millis(500);

/// What it takes to be called by the API server and to send sidecars to the reaper.
pub struct Keeper {
    client: Client,
    namespace: String,
    identity: ServerIdentity,
    reaper: watch::Sender<Option<Arc<Endpoint>>>,
    gate: Gate,
}

impl Keeper {
    /// Keeps the objects in `namespace` and the webhook configuration; presents the certificate as `identity`, tells `reaper`
    /// where the reaper is, and opens `gate` once all of it is there.
    pub fn new(
        client: Client,
        namespace: String,
        identity: ServerIdentity,
        reaper: watch::Sender<Option<Arc<Endpoint>>>,
        gate: Gate,
    ) -> Self {
        Self { client, namespace, identity, reaper, gate }
    }

    /// Works until the shutdown is requested.
    pub async fn run(self, shutdown: Shutdown) {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        // The watcher starts again by itself after 410 and whatever else the API server does; the backoff paces it.
        let mut changes = pin!(watcher::watch_object(configurations, object::WEBHOOK_CONFIGURATION).default_backoff());
        let mut kept = false;
        let mut retry = RETRY.0;
        loop {
            let pause = match self.round(SystemTime::now()).await {
                Ok(()) => {
                    if !kept {
                        tracing::info!(namespace = self.namespace, "certificates are in order; ready for admission");
                        self.gate.ready();
                    }
                    (kept, retry) = (true, RETRY.0);
                    RECHECK
                }
                Err(error) => {
                    let source: &dyn Error = &error;
                    tracing::warn!(error = source, retry_s = retry.as_secs(), "certificates are not in order yet");
                    if !kept {
                        // Later it goes on with what it has: that still serves.
                        self.gate.not_ready(with_causes(&error));
                    }
                    let pause = retry;
                    retry = (retry * 2).min(RETRY.1);
                    pause
                }
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(pause) => {}
                () = changed(&mut changes) => sleep(SETTLE).await,
            }
        }
    }

    /// Looks at everything once and mends what is missing. It may be cut off anywhere.
    pub(super) async fn round(&self, now: SystemTime) -> Result<(), CertificateError> {
        let Self { client, namespace, identity, reaper, gate: _ } = self;
        let secrets = Secrets::new(client.clone(), namespace);
        let authority = secrets.authority(now).await?;
        let names = leaf::names(object::WEBHOOK_SERVICE, namespace);
        let own = secrets.leaf(object::WEBHOOK_TLS_SECRET, &names, &authority, now).await?;
        let names = leaf::names(object::REAPER_SERVICE, namespace);
        secrets.leaf(object::REAPER_TLS_SECRET, &names, &authority, now).await?;
        let loaded = identity.set_pem(&own.chain_pem, &own.key_pem);
        loaded.map_err(|source| CertificateError::Serve(object::WEBHOOK_TLS_SECRET, source))?;

        let address = publication::reaper_address(client.clone(), namespace).await?;
        let endpoint = Endpoint::new(address, namespace, authority.pem().to_owned());
        publication::tell_agents(client.clone(), namespace, &endpoint).await?;
        reaper.send_if_modified(|known| {
            let news = known.as_deref() != Some(&endpoint);
            if news {
                *known = Some(Arc::new(endpoint));
            }
            news
        });
        publication::tell_api_server(client.clone(), authority.pem()).await
    }
}

/// Returns when the watched object has changed.
async fn changed<T>(changes: &mut (impl Stream<Item = Result<T, watcher::Error>> + Unpin)) {
    // The watcher itself logs what goes wrong, and tries again.
    while let Some(change) = changes.next().await {
        if change.is_ok() {
            return;
        }
    }
    // It never ends; should it, the recheck is left.
    pending::<()>().await;
}
