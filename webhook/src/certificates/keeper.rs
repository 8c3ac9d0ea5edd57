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

use super::{
    CertificateError, Lifetimes, Metrics,
    leaf::{self, Leaf},
    publication::{self, Configuration},
    secrets::Secrets,
};
use jobwarden_inject::endpoint::Endpoint;

/// How often certificates of others are looked at.
const EXTERNAL_RECHECK: Duration = Duration::from_secs(10);

/// How long after a failed round the next begins: at first, and at most. It doubles from one to the other.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long after a change a round begins, so that somebody who undoes our writes at once does not make it a race.
const SETTLE: Duration = Duration::from_millis(500);

/// Who makes the certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// We do, and change them in time.
    Managed(Lifetimes),
    /// Somebody else, such as cert-manager, who also writes the caBundle. We serve what is in the Secrets.
    External,
}

/// What it takes to be called by the API server and to send sidecars to the reaper.
pub struct Keeper {
    client: Client,
    namespace: String,
    source: Source,
    identity: ServerIdentity,
    presented: Option<Leaf>,
    reaper: watch::Sender<Option<Arc<Endpoint>>>,
    gate: Gate,
    metrics: Metrics,
}

impl Keeper {
    /// Keeps the objects in `namespace` and the webhook configuration; presents the certificate as `identity`, tells `reaper`
    /// where the reaper is, and opens `gate` while the API server trusts what is presented.
    pub fn new(
        client: Client,
        namespace: String,
        source: Source,
        identity: ServerIdentity,
        reaper: watch::Sender<Option<Arc<Endpoint>>>,
        gate: Gate,
        metrics: Metrics,
    ) -> Self {
        Self { client, namespace, source, identity, presented: None, reaper, gate, metrics }
    }

    /// Works until the shutdown is requested.
    pub async fn run(mut self, shutdown: Shutdown) {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        // The watcher starts again by itself after 410 and whatever else the API server does; the backoff paces it.
        let mut changes = pin!(watcher::watch_object(configurations, object::WEBHOOK_CONFIGURATION).default_backoff());
        let recheck = match self.source {
            Source::Managed(lifetimes) => lifetimes.recheck(),
            Source::External => EXTERNAL_RECHECK,
        };
        let mut kept = false;
        let mut retry = RETRY.0;
        loop {
            let pause = match self.round(SystemTime::now()).await {
                Ok(()) => {
                    if !kept {
                        tracing::info!(namespace = self.namespace, "certificates are in order; ready for admission");
                    }
                    self.gate.ready();
                    (kept, retry) = (true, RETRY.0);
                    recheck
                }
                Err(error) => {
                    let error = self.distrust(SystemTime::now()).await.unwrap_or(error);
                    let source: &dyn Error = &error;
                    tracing::warn!(error = source, retry_s = retry.as_secs(), "certificates are not in order yet");
                    // Later it goes on with what it has: while the API server trusts that, it still serves.
                    if !kept || matches!(error, CertificateError::Distrusted { .. }) {
                        self.gate.not_ready(with_causes(&error));
                        kept = false;
                    }
                    let pause = retry;
                    retry = (retry * 2).min(RETRY.1.min(recheck).max(RETRY.0));
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
    pub(super) async fn round(&mut self, now: SystemTime) -> Result<(), CertificateError> {
        let Self { client, namespace, .. } = &*self;
        let secrets = Secrets::new(client.clone(), namespace);
        match self.source {
            Source::External => {
                let configuration = Configuration::read(client.clone()).await?;
                let (own, _) = secrets.foreign(object::WEBHOOK_TLS_SECRET).await?;
                self.present(own, &configuration, now)?;
                let (reapers, bundle) = secrets.foreign(object::REAPER_TLS_SECRET).await?;
                self.metrics.expires("reaper", expiry(&reapers, object::REAPER_TLS_SECRET)?);
                self.publish(&bundle).await
            }
            Source::Managed(lifetimes) => {
                let rotation = secrets.rotation(now, lifetimes).await?;
                self.metrics.expires("ca", rotation.current.validity().not_after);
                let bundle = rotation.bundle();
                self.publish(&bundle).await?;
                // Whom to trust comes before what is signed by it.
                let mut configuration = Configuration::read(client.clone()).await?;
                configuration.trust(&bundle).await?;
                let names = leaf::names(object::REAPER_SERVICE, namespace);
                let reapers = secrets.leaf(object::REAPER_TLS_SECRET, &names, &rotation, lifetimes, now).await?;
                self.metrics.expires("reaper", expiry(&reapers, object::REAPER_TLS_SECRET)?);
                let own = secrets.leaf(object::WEBHOOK_TLS_SECRET, &self.names(), &rotation, lifetimes, now).await?;
                self.present(own, &configuration, now)?;
                secrets.confirm(rotation, now).await
            }
        }
    }

    /// Why the API server does not trust what is presented, if it does not, and if that can be told.
    pub(super) async fn distrust(&self, now: SystemTime) -> Option<CertificateError> {
        let presented = self.presented.as_ref()?;
        let configuration = Configuration::read(self.client.clone()).await.ok()?;
        configuration.trusts(presented, &self.names()[..1], now).err()
    }

    /// Tells agents and future sidecars where the reaper is, and by `bundle` how to know it.
    async fn publish(&self, bundle: &str) -> Result<(), CertificateError> {
        let Self { client, namespace, reaper, .. } = self;
        let address = publication::reaper_address(client.clone(), namespace).await?;
        let endpoint = Endpoint::new(address, namespace, bundle.to_owned());
        publication::tell_agents(client.clone(), namespace, &endpoint).await?;
        reaper.send_if_modified(|known| {
            let news = known.as_deref() != Some(&endpoint);
            if news {
                *known = Some(Arc::new(endpoint));
            }
            news
        });
        Ok(())
    }

    /// Presents `own` from now on, if the API server trusts it.
    fn present(&mut self, own: Leaf, configuration: &Configuration, now: SystemTime) -> Result<(), CertificateError> {
        const SECRET: &str = object::WEBHOOK_TLS_SECRET;
        // The API server calls us by the first name alone.
        let names = &self.names()[..1];
        let trusted = configuration.trusts(&own, names, now);
        if trusted.is_err() && self.presented.as_ref().is_some_and(|old| configuration.trusts(old, names, now).is_ok())
        {
            // What is served is still good; the new one has to wait until it is.
            tracing::warn!(
                secret = SECRET,
                "the API server does not trust the new certificate yet; keeping the old one"
            );
            return Ok(());
        }
        let loaded = self.identity.set_pem(&own.chain_pem, &own.key_pem);
        loaded.map_err(|source| CertificateError::Serve(SECRET, source))?;
        self.metrics.expires("webhook", expiry(&own, SECRET)?);
        if self.presented.as_ref() != Some(&own) {
            tracing::info!(secret = SECRET, "presenting the certificate");
        }
        self.presented = Some(own);
        trusted
    }

    /// The names that the API server and people know us by.
    fn names(&self) -> [String; 2] {
        leaf::names(object::WEBHOOK_SERVICE, &self.namespace)
    }
}

fn expiry(leaf: &Leaf, secret: &'static str) -> Result<SystemTime, CertificateError> {
    leaf.not_after().map_err(|reason| CertificateError::Foreign { name: secret, reason: reason.to_string() })
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
