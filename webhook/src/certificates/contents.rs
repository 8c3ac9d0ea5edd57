//! The `data` of a Secret that holds a certificate.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use super::error::Unusable;

/// Key of a certificate in a Secret, by the convention of the type `kubernetes.io/tls`.
pub(super) const CERTIFICATE: &str = "tls.crt";
/// Key of the private key.
pub(super) const KEY: &str = "tls.key";
/// Key of the CA bundle.
pub(super) const AUTHORITY: &str = "ca.crt";

/// `data` of a Secret.
pub(super) type Contents = BTreeMap<String, ByteString>;

pub(super) fn contents(texts: impl IntoIterator<Item = (&'static str, String)>) -> Contents {
    texts.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect()
}

pub(super) fn text<'a>(contents: &'a Contents, key: &'static str) -> Result<&'a str, Unusable> {
    let bytes = contents.get(key).ok_or(Unusable::Missing(key))?;
    std::str::from_utf8(&bytes.0).map_err(|_| Unusable::NotPem(key))
}
