//! The cluster's certificates and kubeconfigs.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use crate::error::{Context, Result};
use crate::layout::{API_PORT, CONTROL_PLANE, KUBERNETES_SERVICE};

/// The cluster's certificate authority.
pub(crate) struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both in PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = params("kubernetes-ca", None, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// The authority's certificate in PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for the user `user` of the group `group`.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = params(user, group, &[])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// A server certificate for these names and addresses.
    pub(crate) fn server(&self, user: &str, group: Option<&str>, names: &[String]) -> Result<Identity> {
        let mut params = params(user, group, names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// The API server's certificate. Clients reach the API server at its address, at its Service, and from this machine at
    /// a forwarder's loopback address.
    pub(crate) fn api_server(&self) -> Result<Identity> {
        let addresses = [CONTROL_PLANE, KUBERNETES_SERVICE, Ipv4Addr::LOCALHOST].map(|address| address.to_string());
        let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned);
        let full = "kubernetes.default.svc.cluster.local".to_owned();
        self.server("kube-apiserver", None, &[&addresses[..], &names, &[full]].concat())
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Identity> {
        let key = KeyPair::generate()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }

    /// A kubeconfig for a user from [`Self::client`], written as JSON, which is valid YAML.
    pub(crate) fn kubeconfig(&self, identity: &Identity) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "cluster",
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "user"}}],
            "clusters": [{"name": "cluster", "cluster": {
                "server": format!("https://{CONTROL_PLANE}:{API_PORT}"),
                "certificate-authority-data": STANDARD.encode(&self.certificate),
            }}],
            "users": [{"name": "user", "user": {
                "client-certificate-data": STANDARD.encode(&identity.certificate),
                "client-key-data": STANDARD.encode(&identity.key),
            }}],
        })
        .to_string()
    }
}

impl Identity {
    /// Writes `<name>.crt` and `<name>.key` into `folder`.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<()> {
        write_private(&folder.join(format!("{name}.crt")), &self.certificate)?;
        write_private(&folder.join(format!("{name}.key")), &self.key)
    }
}

/// The key pair that signs and verifies service account tokens: (private, public) in PEM.
pub(crate) fn service_account_key() -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// Writes a file that only root can read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .context(|| format!("writing {}", path.display()))
}

fn params(user: &str, group: Option<&str>, names: &[String]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, user);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    Ok(params)
}
