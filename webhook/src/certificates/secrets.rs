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
    CertificateError, Unusable,
    authority::Authority,
    leaf::{self, Leaf},
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

pub(super) fn contents<const N: usize>(texts: [(&'static str, String); N]) -> Contents {
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

    /// The authority, made if there is none that can be used.
    pub(super) async fn authority(&self, now: SystemTime) -> Result<Authority, CertificateError> {
        self.ensure(object::CA_SECRET, |contents| Authority::read(contents, now), || Authority::make(now)).await
    }

    /// The serving certificate of `service`, made if there is none that can be used.
    pub(super) async fn leaf(
        &self,
        secret: &'static str,
        names: &[String],
        authority: &Authority,
        now: SystemTime,
    ) -> Result<Leaf, CertificateError> {
        let check = |contents: &Contents| leaf::check(contents, authority, names, now);
        self.ensure(secret, check, || leaf::make(authority, names, now)).await
    }

    /// What `read` makes of the Secret `name`. Where that fails it is written, and read again: what counts is what the API
    /// server has, whoever wrote it.
    async fn ensure<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Contents) -> Result<T, Unusable>,
        make: impl Fn() -> Result<Contents, rcgen::Error>,
    ) -> Result<T, CertificateError> {
        let failed = |verb| move |source| CertificateError::Api { verb, kind: "Secret", name: name.to_owned(), source };
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        for _ in 0..LOOKS {
            match self.api.get_opt(name).await.map_err(failed("read"))? {
                None => {
                    tracing::info!(secret = name, "making a certificate");
                    let secret = new_secret(name, make()?);
                    settle(self.api.create(&parameters, &secret).await).map_err(failed("create"))?;
                }
                Some(mut secret) => match read(secret.data.get_or_insert_default()) {
                    Ok(value) => return Ok(value),
                    Err(reason) => {
                        tracing::warn!(secret = name, %reason, "replacing a certificate");
                        // Its resourceVersion goes with it, so that a change in the meantime is not overwritten.
                        secret.data = Some(make()?);
                        settle(self.api.replace(name, &parameters, &secret).await).map_err(failed("replace"))?;
                    }
                },
            }
        }
        Err(CertificateError::Contended(name))
    }
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
