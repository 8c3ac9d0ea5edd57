//! The Secrets that hold certificates. Replicas that start together make each only once: the second one uses what the first has
//! made.

use std::{collections::BTreeMap, time::SystemTime};

use jobwarden_common::names::{FIELD_MANAGER, label, object};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::{
    contents::{AUTHORITY, Contents, text},
    error::{CertificateError, Unusable},
    leaf::{self, Leaf},
    lifetime::Lifetimes,
    rotation::Rotation,
};

const TYPE: &str = "kubernetes.io/tls";

/// Attempts at reading and writing a Secret before a concurrent writer is blamed.
const ATTEMPTS: usize = 5;

/// The Secrets of jobwarden's own namespace.
pub(super) struct Secrets {
    api: Api<Secret>,
}

impl Secrets {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace) }
    }

    /// The authorities, after every step of their rotation that is due; new ones if there are none that can be used.
    pub(super) async fn rotation(&self, now: SystemTime, lifetimes: Lifetimes) -> Result<Rotation, CertificateError> {
        let read = |contents: &Contents| {
            let rotation = Rotation::read(contents, now)?;
            match rotation.is_due(now, lifetimes) {
                true => Err(Unusable::Due),
                false if rotation.contents() != *contents => Err(Unusable::Corrupt),
                false => Ok(rotation),
            }
        };
        let make = |contents: Option<&Contents>| match contents.map(|contents| Rotation::read(contents, now)) {
            Some(Ok(rotation)) if !rotation.is_due(now, lifetimes) => Ok(rotation.contents()),
            Some(Ok(rotation)) => {
                let rotation = rotation.advance(now, lifetimes)?;
                tracing::info!(phase = rotation.phase(), "advancing the rotation of the certificate authority");
                Ok(rotation.contents())
            }
            Some(Err(_)) | None => Ok(Rotation::begin(now, lifetimes)?.contents()),
        };
        self.ensure(object::CA_SECRET, read, make).await
    }

    /// Records that everything published from `rotation` is in place, unless the rotation has advanced in the meantime.
    pub(super) async fn confirm(&self, mut rotation: Rotation, now: SystemTime) -> Result<(), CertificateError> {
        let before = rotation.contents();
        if !rotation.confirm(now) {
            return Ok(());
        }
        let name = object::CA_SECRET;
        let Some(mut secret) = self.api.get_opt(name).await.map_err(failed("read", name))? else { return Ok(()) };
        if secret.data.as_ref() != Some(&before) {
            return Ok(());
        }
        secret.data = Some(rotation.contents());
        ignore_conflict(self.api.replace(name, &parameters(), &secret).await).map_err(failed("replace", name))
    }

    /// The serving certificate in `secret`, signed by the current authority for `names`, with the current CA bundle; a new one if
    /// there is none that can be used.
    pub(super) async fn leaf(
        &self,
        secret: &'static str,
        names: &[String],
        rotation: &Rotation,
        lifetimes: Lifetimes,
        now: SystemTime,
    ) -> Result<Leaf, CertificateError> {
        let bundle = rotation.bundle();
        let good = |contents: &Contents| {
            let leaf = Leaf::read(contents)?;
            leaf.check(&rotation.current, names, now).map(|()| leaf)
        };
        let read = |contents: &Contents| {
            let leaf = good(contents)?;
            if text(contents, AUTHORITY)? == bundle { Ok(leaf) } else { Err(Unusable::OtherBundle) }
        };
        let make = |contents: Option<&Contents>| {
            let kept = contents.and_then(|contents| good(contents).ok());
            let leaf = match kept {
                Some(leaf) => leaf,
                None => leaf::make(&rotation.current, rotation.cross_signed(), names, lifetimes, now)?,
            };
            Ok(leaf.contents(&bundle))
        };
        self.ensure(secret, read, make).await
    }

    /// The certificate and CA bundle in the Secret `name`, which another tool manages.
    pub(super) async fn foreign(&self, name: &'static str) -> Result<(Leaf, String), CertificateError> {
        let Some(secret) = self.api.get_opt(name).await.map_err(failed("read", name))? else {
            return Err(CertificateError::Missing { kind: "Secret", name: name.to_owned() });
        };
        let contents = secret.data.unwrap_or_default();
        let bundle = Leaf::read(&contents).and_then(|leaf| Ok((leaf, text(&contents, AUTHORITY)?.to_owned())));
        bundle.map_err(|reason| CertificateError::Foreign { name, reason: reason.to_string() })
    }

    /// Reads the Secret `name`. If `read` fails, writes what `make` returns and reads again: what the API server has is
    /// authoritative, whichever replica wrote it.
    async fn ensure<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Contents) -> Result<T, Unusable>,
        make: impl Fn(Option<&Contents>) -> Result<Contents, rcgen::Error>,
    ) -> Result<T, CertificateError> {
        for _ in 0..ATTEMPTS {
            match self.api.get_opt(name).await.map_err(failed("read", name))? {
                None => {
                    tracing::info!(secret = name, "making a certificate");
                    let secret = new_secret(name, make(None)?);
                    ignore_conflict(self.api.create(&parameters(), &secret).await).map_err(failed("create", name))?;
                }
                Some(mut secret) => match read(secret.data.get_or_insert_default()) {
                    Ok(value) => return Ok(value),
                    Err(reason) => {
                        tracing::info!(secret = name, %reason, "replacing a certificate");
                        // The resourceVersion prevents overwriting a concurrent change.
                        secret.data = Some(make(secret.data.as_ref())?);
                        ignore_conflict(self.api.replace(name, &parameters(), &secret).await)
                            .map_err(failed("replace", name))?;
                    }
                },
            }
        }
        Err(CertificateError::Contended(name))
    }
}

fn parameters() -> PostParams {
    jobwarden_serve::field_manager::post_params()
}

fn failed(verb: &'static str, name: &'static str) -> impl FnOnce(kube::Error) -> CertificateError {
    move |source| CertificateError::Api { verb, kind: "Secret", name: name.to_owned(), source }
}

/// Treats a write that lost a race as done: the next read shows the winner's.
pub(super) fn ignore_conflict<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_conflict() => Ok(()),
        other => other.map(drop),
    }
}

fn new_secret(name: &str, data: Contents) -> Secret {
    let labels = BTreeMap::from([(label::MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned())]);
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    Secret { metadata, data: Some(data), type_: Some(TYPE.to_owned()), ..Secret::default() }
}
