//! Reconciles certificates, caBundle and reaper endpoint.

use std::{
    error::Error,
    future::pending,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{Stream, StreamExt as _};
use jobwarden_common::names::object;
use jobwarden_inject::endpoint::{Endpoint, service_name};
use jobwarden_serve::{admin::Gate, logs::with_causes, shutdown::Shutdown, tls::ServerIdentity};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::{sync::watch, time::sleep};

use super::{
    clock::Clock,
    error::CertificateError,
    leaf::Leaf,
    lifetime::{Lifetimes, Terms},
    metrics::Metrics,
    publication::{self, Configuration},
    secrets::Secrets,
};

/// Interval of reconciliation with external certificates.
const EXTERNAL_RECHECK: Duration = Duration::from_secs(10);

/// Backoff after a failed reconciliation: initial and maximum; it doubles in between.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Delay after a watch event, so that a client that reverts our writes immediately does not cause a hot loop.
const SETTLE: Duration = Duration::from_millis(500);

/// Who makes the certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This controller makes and renews them.
    Managed(Lifetimes),
    /// Another tool, such as cert-manager, which also writes the caBundle. The webhook serves what is in the Secrets.
    External,
}

/// Keeps in order what the API server needs to call the webhook, and sidecars to find the reaper.
pub struct Controller {
    client: Client,
    namespace: String,
    source: Source,
    identity: ServerIdentity,
    served: Option<Leaf>,
    reaper: watch::Sender<Option<Arc<Endpoint>>>,
    gate: Gate,
    metrics: Metrics,
}

impl Controller {
    /// Reconciles the objects in `namespace` and the webhook configuration; serves the certificate through `identity`, sends the
    /// reaper's endpoint to `reaper`, and keeps `gate` ready while the API server trusts the served certificate.
    pub fn new(
        client: Client,
        namespace: String,
        source: Source,
        identity: ServerIdentity,
        reaper: watch::Sender<Option<Arc<Endpoint>>>,
        gate: Gate,
        metrics: Metrics,
    ) -> Self {
        Self { client, namespace, source, identity, served: None, reaper, gate, metrics }
    }

    /// Reconciles until shutdown is requested.
    pub async fn run(mut self, shutdown: Shutdown) {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        // The watcher restarts by itself after 410 and other errors, with backoff.
        let mut changes = pin!(watcher::watch_object(configurations, object::WEBHOOK_CONFIGURATION).default_backoff());
        let recheck = match self.source {
            Source::Managed(lifetimes) => lifetimes.recheck(),
            Source::External => EXTERNAL_RECHECK,
        };
        let mut clock = Clock::default();
        let mut in_order = false;
        let mut backoff = BACKOFF.0;
        loop {
            let now = clock.now(&self.client).await;
            let pause = match self.reconcile(now).await {
                Ok(()) => {
                    if !in_order {
                        tracing::info!(namespace = self.namespace, "certificates are in order, ready for admission");
                    }
                    self.gate.ready();
                    (in_order, backoff) = (true, BACKOFF.0);
                    recheck
                }
                Err(error) => {
                    let error = self.distrust(now).await.unwrap_or(error);
                    let source: &dyn Error = &error;
                    tracing::warn!(error = source, retry_s = backoff.as_secs(), "cannot reconcile certificates");
                    // Once in order, the webhook keeps serving for as long as the API server trusts what it serves.
                    if !in_order || matches!(error, CertificateError::Distrusted { .. }) {
                        self.gate.not_ready(with_causes(&error));
                        in_order = false;
                    }
                    let pause = backoff;
                    backoff = (backoff * 2).min(BACKOFF.1.min(recheck).max(BACKOFF.0));
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

    /// One pass: compares everything and repairs the difference. Safe to interrupt anywhere.
    pub(super) async fn reconcile(&mut self, now: SystemTime) -> Result<(), CertificateError> {
        let Self { client, namespace, .. } = &*self;
        let secrets = Secrets::new(client.clone(), namespace);
        match self.source {
            Source::External => {
                let configuration = Configuration::read(client.clone()).await?;
                let (own, _) = secrets.foreign(object::WEBHOOK_TLS_SECRET).await?;
                self.serve(own, &configuration, now)?;
                let (reapers, bundle) = secrets.foreign(object::REAPER_TLS_SECRET).await?;
                self.metrics.expires("reaper", expiry(&reapers, object::REAPER_TLS_SECRET)?);
                self.publish(&bundle).await
            }
            Source::Managed(lifetimes) => {
                let terms = Terms { namespace, lifetimes };
                let rotation = secrets.rotation(now, terms).await?;
                self.metrics.expires("ca", rotation.current.validity().not_after);
                let bundle = rotation.bundle();
                let published = self.publish(&bundle).await;
                // Clients must trust an authority before anything signed by it is served.
                let mut configuration = Configuration::read(client.clone()).await?;
                configuration.trust(&bundle).await?;
                let leaf = async |secret, service| secrets.leaf(secret, service, &rotation, terms, now).await;
                let reapers = leaf(object::REAPER_TLS_SECRET, object::REAPER_SERVICE).await?;
                self.metrics.expires("reaper", expiry(&reapers, object::REAPER_TLS_SECRET)?);
                let own = leaf(object::WEBHOOK_TLS_SECRET, object::WEBHOOK_SERVICE).await?;
                self.serve(own, &configuration, now)?;
                published?;
                secrets.confirm(rotation, now).await
            }
        }
    }

    /// Why the API server does not trust the served certificate; `None` if it does, or if that is unknown.
    pub(super) async fn distrust(&self, now: SystemTime) -> Option<CertificateError> {
        let served = self.served.as_ref()?;
        let configuration = Configuration::read(self.client.clone()).await.ok()?;
        configuration.trusts(served, &self.name(), now).err()
    }

    /// Publishes the reaper's address and the CA `bundle` to agents and future sidecars.
    async fn publish(&self, bundle: &str) -> Result<(), CertificateError> {
        let Self { client, namespace, reaper, .. } = self;
        let address = publication::reaper_address(client.clone(), namespace).await?;
        let endpoint = Arc::new(Endpoint::new(address, namespace, bundle.to_owned()));
        reaper.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&endpoint);
            if changed {
                *known = Some(Arc::clone(&endpoint));
            }
            changed
        });
        publication::publish_endpoint(client.clone(), namespace, &endpoint).await
    }

    /// Serves `own` from now on, unless only the current certificate is trusted.
    fn serve(&mut self, own: Leaf, configuration: &Configuration, now: SystemTime) -> Result<(), CertificateError> {
        const SECRET: &str = object::WEBHOOK_TLS_SECRET;
        let name = self.name();
        let trusted = configuration.trusts(&own, &name, now);
        if trusted.is_err() && self.served.as_ref().is_some_and(|old| configuration.trusts(old, &name, now).is_ok()) {
            tracing::warn!(
                secret = SECRET,
                "the API server does not trust the new certificate yet, keeping the old one"
            );
            return Ok(());
        }
        let loaded = self.identity.set_pem(&own.chain_pem, &own.key_pem);
        loaded.map_err(|source| CertificateError::Serve(SECRET, source))?;
        self.metrics.expires("webhook", expiry(&own, SECRET)?);
        if self.served.as_ref() != Some(&own) {
            tracing::info!(secret = SECRET, "serving a new certificate");
        }
        self.served = Some(own);
        trusted
    }

    /// The DNS name by which the API server verifies the webhook.
    fn name(&self) -> String {
        service_name(object::WEBHOOK_SERVICE, &self.namespace)
    }
}

fn expiry(leaf: &Leaf, secret: &'static str) -> Result<SystemTime, CertificateError> {
    leaf.not_after().map_err(|reason| CertificateError::Foreign { name: secret, reason: reason.to_string() })
}

/// Returns when the watched object changes.
async fn changed<T>(changes: &mut (impl Stream<Item = Result<T, watcher::Error>> + Unpin)) {
    // The watcher logs errors and retries by itself.
    while let Some(change) = changes.next().await {
        if change.is_ok() {
            return;
        }
    }
    // The stream never ends; if it did, the periodic reconciliation would remain.
    pending::<()>().await;
}
