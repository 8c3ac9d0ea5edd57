//! The Secrets that hold certificates. The chart creates them empty, because a right to create Secrets cannot be limited to names;
//! this fills them. Replicas that start together make each certificate only once: the second one uses what the first has made.

use std::time::SystemTime;

use jobwarden_common::names::object;
use jobwarden_inject::endpoint::service_name;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::PostParams};

use super::{
    contents::{AUTHORITY, Contents, text},
    error::{CertificateError, Unusable},
    leaf::{self, Leaf},
    lifetime::Terms,
    rotation::Rotation,
};

/// Attempts at reading and writing a Secret before a concurrent writer is blamed.
const ATTEMPTS: usize = 5;

/// The Secrets of jobwarden's own namespace.
pub(super) struct Secrets {
    api: Api<Secret>,
    namespace: String,
}

impl Secrets {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), namespace: namespace.to_owned() }
    }

    /// The authorities, after every step of their rotation that is due; new ones if there are none that can be used.
    pub(super) async fn rotation(&self, now: SystemTime, terms: Terms<'_>) -> Result<Rotation, CertificateError> {
        let read = |contents: &Contents| {
            let rotation = Rotation::read(contents, now)?;
            match rotation.is_due(now, terms) {
                true => Err(Unusable::Due),
                false if rotation.contents() != *contents => Err(Unusable::Corrupt),
                false => Ok(rotation),
            }
        };
        let make = |contents: &Contents| match Rotation::read(contents, now) {
            Ok(rotation) if !rotation.is_due(now, terms) => Ok(rotation.contents()),
            Ok(rotation) => {
                let rotation = rotation.advance(now, terms)?;
                tracing::info!(phase = rotation.phase(), "advancing the rotation of the certificate authority");
                Ok(rotation.contents())
            }
            Err(_) => Ok(Rotation::begin(now, terms)?.contents()),
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

    /// The serving certificate in `secret`, signed by the current authority for the Service `service`, with the current CA bundle; a new one if
    /// there is none that can be used.
    pub(super) async fn leaf(
        &self,
        secret: &'static str,
        service: &str,
        rotation: &Rotation,
        terms: Terms<'_>,
        now: SystemTime,
    ) -> Result<Leaf, CertificateError> {
        let name = service_name(service, terms.namespace);
        let bundle = rotation.bundle();
        let good = |contents: &Contents| {
            let leaf = Leaf::read(contents)?;
            leaf.check(&rotation.current, &name, now).map(|()| leaf)
        };
        let read = |contents: &Contents| {
            let leaf = good(contents)?;
            if text(contents, AUTHORITY)? == bundle { Ok(leaf) } else { Err(Unusable::OtherBundle) }
        };
        let make = |contents: &Contents| {
            let leaf = match good(contents) {
                Ok(leaf) => leaf,
                Err(_) => leaf::make(&rotation.current, rotation.cross_signed(), &name, terms.lifetimes, now)?,
            };
            Ok(leaf.contents(&bundle))
        };
        self.ensure(secret, read, make).await
    }

    /// The certificate and CA bundle in the Secret `name`, which another tool manages.
    pub(super) async fn foreign(&self, name: &'static str) -> Result<(Leaf, String), CertificateError> {
        let foreign = |reason: String| CertificateError::Foreign { name, reason };
        let Some(secret) = self.api.get_opt(name).await.map_err(failed("read", name))? else {
            return Err(foreign("it does not exist".to_owned()));
        };
        let contents = secret.data.unwrap_or_default();
        let bundle = Leaf::read(&contents).and_then(|leaf| Ok((leaf, text(&contents, AUTHORITY)?.to_owned())));
        bundle.map_err(|reason| foreign(reason.to_string()))
    }

    /// Reads the Secret `name`. If `read` fails, writes what `make` returns and reads again: what the API server has is
    /// authoritative, whichever replica wrote it.
    async fn ensure<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Contents) -> Result<T, Unusable>,
        make: impl Fn(&Contents) -> Result<Contents, rcgen::Error>,
    ) -> Result<T, CertificateError> {
        for _ in 0..ATTEMPTS {
            let Some(mut secret) = self.api.get_opt(name).await.map_err(failed("read", name))? else {
                return Err(CertificateError::Deleted {
                    kind: "Secret",
                    create: "secret generic",
                    name,
                    namespace: self.namespace.clone(),
                });
            };
            let contents = secret.data.get_or_insert_default();
            match read(contents) {
                Ok(value) => return Ok(value),
                Err(_) if contents.is_empty() => tracing::info!(secret = name, "making a certificate"),
                Err(reason) => tracing::info!(secret = name, %reason, "replacing a certificate"),
            }
            *contents = make(contents)?;
            // The resourceVersion prevents overwriting a concurrent change.
            ignore_conflict(self.api.replace(name, &parameters(), &secret).await).map_err(failed("replace", name))?;
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

/// Treats an update that lost a race as done: the next read shows the winner's.
pub(super) fn ignore_conflict<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
        other => other.map(drop),
    }
}
