//! The settings of an HTTP sink.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::header::AUTHORIZATION;
use serde::Deserialize;

use super::custom_headers::CustomHeaders;
use crate::deliver::duration::duration;

/// Where and how an HTTP sink posts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpSettings {
    /// The URL of the receiver.
    pub url: String,
    /// A file with the signing secrets `whsec_…`, one per line, read for every attempt. Without it notifications are unsigned.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// A file with a token, read for every attempt and sent as `Authorization: Bearer`.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// Headers that are added to every request.
    #[serde(default)]
    pub headers: CustomHeaders,
    /// A PEM file with the CA certificates that the receiver's certificate is verified with. Default: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the certificate, and those between it and its CA, that is presented to the receiver.
    #[serde(default)]
    pub client_cert_file: Option<PathBuf>,
    /// A PEM file with the private key of that certificate.
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// The timeout of one attempt, from its connection to the end of the response.
    #[serde(default = "ten_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
    /// The timeout of a connection with its TLS handshake, which is part of the attempt.
    #[serde(default = "five_seconds", deserialize_with = "duration")]
    pub connect_timeout: Duration,
}

/// Why an HTTP sink cannot be set up. Shown in logs, so without the URL and without secrets.
#[derive(Debug, thiserror::Error)]
pub enum HttpSettingsError {
    /// The URL is not one of HTTP.
    #[error("invalid url; it must start with http:// or https://")]
    Url,
    /// A timeout is zero.
    #[error("timeout and connectTimeout must be longer than 0s")]
    Timeout,
    /// A client certificate needs its key.
    #[error("clientCertFile and clientKeyFile belong together; set both or none")]
    ClientCertificate,
    /// Without TLS no certificate is presented.
    #[error("clientCertFile needs a url that starts with https://")]
    Plain,
    /// More than one setting makes the header `Authorization`.
    #[error("set only one of bearerTokenFile, the header authorization, and a user in the url")]
    Authorization,
    /// A file cannot be read.
    #[error("cannot read {setting} {}", path.display())]
    Read {
        /// The setting that names the file.
        setting: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The CA file has no valid certificates.
    #[error("caFile {} is not valid", path.display())]
    Ca {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The client certificate or its key is not valid.
    #[error("clientCertFile {} or clientKeyFile {} is not valid", certificate.display(), key.display())]
    Identity {
        /// The path of the certificate.
        certificate: PathBuf,
        /// The path of its key.
        key: PathBuf,
        /// The cause.
        source: reqwest::Error,
    },
    /// The client cannot be set up.
    #[error("cannot set up the HTTPS client; set caFile if the system has no CA certificates")]
    Client(#[source] reqwest::Error),
}

impl HttpSettings {
    /// Checks what can be checked without reading files, and returns the URL.
    pub(in crate::deliver) fn check(&self) -> Result<reqwest::Url, HttpSettingsError> {
        let url = reqwest::Url::parse(&self.url).map_err(|_| HttpSettingsError::Url)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(HttpSettingsError::Url);
        }
        if self.timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(HttpSettingsError::Timeout);
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        let has_header = self.headers.headers().contains_key(AUTHORIZATION);
        if [has_user, has_header, self.bearer_token_file.is_some()].into_iter().filter(|is_set| *is_set).count() > 1 {
            return Err(HttpSettingsError::Authorization);
        }
        match self.client_certificate()? {
            Some(_) if url.scheme() == "http" => Err(HttpSettingsError::Plain),
            _ => Ok(url),
        }
    }

    /// The files of the client certificate and of its key, if there is one.
    pub(super) fn client_certificate(&self) -> Result<Option<(&Path, &Path)>, HttpSettingsError> {
        match (&self.client_cert_file, &self.client_key_file) {
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (None, None) => Ok(None),
            _ => Err(HttpSettingsError::ClientCertificate),
        }
    }
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(text: &str) -> Result<HttpSettings, String> {
        let settings: HttpSettings = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn an_http_sink_needs_a_url_only() {
        let expected = HttpSettings {
            url: "http://ort.example/hooks".to_owned(),
            secret_file: None,
            bearer_token_file: None,
            headers: CustomHeaders::default(),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
        };
        assert_eq!(parse("url: http://ort.example/hooks"), Ok(expected));
    }

    #[test]
    fn every_setting_can_be_set() {
        let text = "{url: 'https://a', secretFile: /s, bearerTokenFile: /t, headers: {X-Tenant: blue}, caFile: /ca, \
                    clientCertFile: /cert, clientKeyFile: /key, timeout: 3s, connectTimeout: 1s}";
        let settings = parse(text).expect("valid");
        let HttpSettings { secret_file, bearer_token_file, ca_file, client_cert_file, client_key_file, .. } = &settings;
        let files = [secret_file, bearer_token_file, ca_file, client_cert_file, client_key_file];
        let files = files.map(|file| file.as_ref().and_then(|path| path.to_str()).unwrap_or_default());
        assert_eq!(files, ["/s", "/t", "/ca", "/cert", "/key"]);
        assert_eq!((settings.timeout, settings.connect_timeout), (Duration::from_secs(3), Duration::from_secs(1)));
        assert_eq!(settings.headers.headers()["x-tenant"], "blue");
    }

    #[rstest]
    #[case("{url: 'https://a', colour: red}", "unknown field")]
    #[case("{url: 'ftp://a'}", "invalid url")]
    #[case("{url: nowhere}", "invalid url")]
    #[case("{url: 'https://a', timeout: soon}", "soon")]
    #[case("{url: 'https://a', timeout: 0s}", "longer than 0s")]
    #[case("{url: 'https://a', connectTimeout: 0s}", "longer than 0s")]
    #[case("{url: 'https://a', headers: {Webhook-Id: x}}", "the header webhook-id cannot be set")]
    #[case(
        r#"{url: 'https://a', headers: {X-Key: "s3cret\r\n"}}"#,
        "the value of the header x-key is not printable ASCII"
    )]
    #[case("{url: 'https://a', clientCertFile: /cert}", "belong together")]
    #[case("{url: 'https://a', clientKeyFile: /key}", "belong together")]
    #[case("{url: 'http://a', clientCertFile: /cert, clientKeyFile: /key}", "needs a url that starts with https://")]
    #[case("{url: 'https://a', bearerTokenFile: /t, headers: {Authorization: Basic dTpw}}", "set only one of")]
    #[case("{url: 'https://user:s3cret@a', bearerTokenFile: /t}", "set only one of")]
    fn an_invalid_setting_is_rejected_with_its_name(#[case] text: &str, #[case] expected: &str) {
        let error = parse(text).expect_err("invalid");
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn an_error_does_not_show_a_secret() {
        for text in ["{url: 'https://user:s3cret@a', bearerTokenFile: /t}", "{url: 'ftp://u:s3cret@a'}"] {
            let error = parse(text).expect_err("invalid");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
