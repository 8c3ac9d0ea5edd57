//! The Secrets that certificates live in. Two replicas that start together make each only once: whoever comes second takes
//! what the first has made.

use std::{collections::BTreeMap, time::SystemTime};

use jobwarden_common::names::{FIELD_MANAGER, label, object};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::{
    CertificateError, Lifetimes, Unusable,
    leaf::{self, Leaf},
    rotation::Rotation,
};

/// Key of a certificate in a Secret, by the convention of the type `kubernetes.io/tls`.
pub(super) const CERTIFICATE: &str = "tls.crt";
/// Key of its private key.
pub(super) const KEY: &str = "tls.key";
/// Key of the authority's certificate.
pub(super) const AUTHORITY: &str = "ca.crt";

const TYPE: &str = "kubernetes.io/tls";

/// How often a Secret is looked at before somebody else is held to be changing it.
const LOOKS: usize = 5;

/// `data` of a Secret.
pub(super) type Contents = BTreeMap<String, ByteString>;

pub(super) fn contents(texts: impl IntoIterator<Item = (&'static str, String)>) -> Contents {
    texts.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect()
}

pub(super) fn text<'a>(contents: &'a Contents, key: &'static str) -> Result<&'a str, Unusable> {
    let bytes = contents.get(key).ok_or(Unusable::Missing(key))?;
    std::str::from_utf8(&bytes.0).map_err(|_| Unusable::NotPem(key))
}

/// The Secrets of jobwarden's own namespace.
pub(super) struct Secrets {
    api: Api<Secret>,
}

impl Secrets {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace) }
    }

    /// The authorities, made if there are none that can be used, after every step of their rotation that is due.
    pub(super) async fn rotation(&self, now: SystemTime, lifetimes: Lifetimes) -> Result<Rotation, CertificateError> {
        let read = |contents: &Contents| {
            let rotation = Rotation::read(contents, now)?;
            match rotation.is_due(now, lifetimes) {
                true => Err(Unusable::Due),
                false if rotation.contents() != *contents => Err(Unusable::Spoilt),
                false => Ok(rotation),
            }
        };
        let make = |contents: Option<&Contents>| match contents.map(|contents| Rotation::read(contents, now)) {
            Some(Ok(rotation)) if !rotation.is_due(now, lifetimes) => Ok(rotation.contents()),
            Some(Ok(rotation)) => {
                let rotation = rotation.advance(now, lifetimes)?;
                tracing::info!(phase = rotation.phase(), "the rotation of the certificate authority goes on");
                Ok(rotation.contents())
            }
            Some(Err(_)) | None => Ok(Rotation::begin(now, lifetimes)?.contents()),
        };
        self.ensure(object::CA_SECRET, read, make).await
    }

    /// Notes that what clients were told of `rotation` is true everywhere, unless it has gone on in the meantime.
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
        settle(self.api.replace(name, &parameters(), &secret).await).map_err(failed("replace", name))
    }

    /// The serving certificate in `secret`, signed by the current authority for `names` and beside the bundle that clients shall
    /// trust; made if there is none that can be used.
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
                None => leaf::make(&rotation.current, rotation.vouched(), names, lifetimes, now)?,
            };
            Ok(leaf.contents(&bundle))
        };
        self.ensure(secret, read, make).await
    }

    /// What the Secret `name` holds, for one that somebody else keeps.
    pub(super) async fn foreign(&self, name: &'static str) -> Result<(Leaf, String), CertificateError> {
        let Some(secret) = self.api.get_opt(name).await.map_err(failed("read", name))? else {
            return Err(CertificateError::Missing { kind: "Secret", name: name.to_owned() });
        };
        let contents = secret.data.unwrap_or_default();
        let bundle = Leaf::read(&contents).and_then(|leaf| Ok((leaf, text(&contents, AUTHORITY)?.to_owned())));
        bundle.map_err(|reason| CertificateError::Foreign { name, reason: reason.to_string() })
    }

    /// What `read` makes of the Secret `name`. Where that fails it is written, and read again: what counts is what the API
    /// server has, whoever wrote it.
    async fn ensure<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Contents) -> Result<T, Unusable>,
        make: impl Fn(Option<&Contents>) -> Result<Contents, rcgen::Error>,
    ) -> Result<T, CertificateError> {
        for _ in 0..LOOKS {
            match self.api.get_opt(name).await.map_err(failed("read", name))? {
                None => {
                    tracing::info!(secret = name, "making a certificate");
                    let secret = new_secret(name, make(None)?);
                    settle(self.api.create(&parameters(), &secret).await).map_err(failed("create", name))?;
                }
                Some(mut secret) => match read(secret.data.get_or_insert_default()) {
                    Ok(value) => return Ok(value),
                    Err(reason) => {
                        tracing::info!(secret = name, %reason, "writing a certificate anew");
                        // Its resourceVersion goes with it, so that a change in the meantime is not overwritten.
                        secret.data = Some(make(secret.data.as_ref())?);
                        settle(self.api.replace(name, &parameters(), &secret).await)
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

/// Somebody else was faster: as good as having done it.
pub(super) fn settle<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
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
