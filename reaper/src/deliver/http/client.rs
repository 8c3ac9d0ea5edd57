//! The HTTP client of a sink, which is made anew when one of its certificate files has changed.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use jobwarden_serve::logs::with_causes;
use reqwest::{Certificate, Client, ClientBuilder, Identity, redirect};

use super::settings::{HttpSettings, HttpSettingsError};

/// The client with the certificates that were read last.
#[derive(Debug)]
pub(super) struct HttpClient {
    settings: HttpSettings,
    built: ArcSwap<Built>,
}

struct Built {
    client: Client,
    files: Files,
}

/// The contents of the certificate files.
#[derive(PartialEq, Eq)]
struct Files {
    ca: Option<Vec<u8>>,
    /// The client certificate with its key.
    identity: Option<Vec<u8>>,
}

impl HttpClient {
    /// Reads the files that the settings name.
    pub(super) fn new(settings: HttpSettings) -> Result<Self, HttpSettingsError> {
        let files = Files::read(&settings)?;
        let client = build(&settings, &files)?;
        Ok(Self { settings, built: ArcSwap::from_pointee(Built { client, files }) })
    }

    pub(super) fn current(&self) -> Client {
        self.built.load().client.clone()
    }

    /// Reads the files again after a failed connection. If they are not valid, the former certificates stay.
    pub(super) fn refresh(&self) {
        let renewed = Files::read(&self.settings).and_then(|files| {
            let changed = self.built.load().files != files;
            if changed { build(&self.settings, &files).map(|client| Some(Built { client, files })) } else { Ok(None) }
        });
        match renewed {
            Ok(Some(built)) => {
                tracing::info!("the certificate files of a sink have changed; its next attempts use them");
                self.built.store(Arc::new(built));
            }
            Ok(None) => {}
            Err(error) => {
                let error = with_causes(&error);
                tracing::warn!(
                    error,
                    "cannot read the certificate files of a sink again; the former ones stay in effect"
                );
            }
        }
    }
}

impl Files {
    fn read(settings: &HttpSettings) -> Result<Self, HttpSettingsError> {
        let ca = settings.ca_file.as_deref().map(|path| read("caFile", path)).transpose()?;
        let identity = settings.client_certificate()?.map(|(certificate, key)| {
            let mut pem = read("clientCertFile", certificate)?;
            pem.push(b'\n');
            pem.extend(read("clientKeyFile", key)?);
            Ok(pem)
        });
        Ok(Self { ca, identity: identity.transpose()? })
    }
}

/// Without keys.
impl std::fmt::Debug for Built {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Built").field("client", &self.client).finish_non_exhaustive()
    }
}

fn build(settings: &HttpSettings, files: &Files) -> Result<Client, HttpSettingsError> {
    let HttpSettings { headers, timeout, connect_timeout, .. } = settings;
    let builder = Client::builder()
        .default_headers(headers.headers().clone())
        .timeout(*timeout)
        .connect_timeout(*connect_timeout)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("jobwarden/", env!("CARGO_PKG_VERSION")));
    let builder = with_trust(builder, settings, files.ca.as_deref())?;
    match (settings.client_certificate()?, &files.identity) {
        (Some((certificate, key)), Some(pem)) => {
            let invalid = |source| {
                let (certificate, key) = (certificate.to_owned(), key.to_owned());
                HttpSettingsError::Identity { certificate, key, source }
            };
            let identity = Identity::from_pem(pem).map_err(invalid)?;
            // A key that is not that of the certificate is an error of the client.
            builder.identity(identity).build().map_err(invalid)
        }
        _ => builder.build().map_err(HttpSettingsError::Client),
    }
}

/// Makes the client verify receivers with the CA certificates of the settings, if there are some.
fn with_trust(
    builder: ClientBuilder,
    settings: &HttpSettings,
    ca: Option<&[u8]>,
) -> Result<ClientBuilder, HttpSettingsError> {
    let (Some(path), Some(pem)) = (&settings.ca_file, ca) else {
        // A client without TLS must not fail because the system has no CA certificates, as in images `FROM scratch`.
        return Ok(if settings.url.starts_with("http:") { builder.tls_certs_only([]) } else { builder });
    };
    let invalid = |source| HttpSettingsError::Ca { path: path.clone(), source };
    let certificates = Certificate::from_pem_bundle(pem).map_err(|error| invalid(error.into()))?;
    if certificates.is_empty() {
        return Err(invalid("the file has no certificate".into()));
    }
    Ok(builder.tls_certs_only(certificates))
}

/// The content of a file that a setting names.
fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, HttpSettingsError> {
    std::fs::read(path).map_err(|source| HttpSettingsError::Read { setting, path: path.to_owned(), source })
}
