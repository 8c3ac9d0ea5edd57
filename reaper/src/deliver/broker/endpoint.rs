//! The address of a broker, from the URL of its settings.

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::settings::{BrokerSettings, SettingsError};

/// The port of AMQP, as registered with IANA.
const PORT: u16 = 5672;
/// The port of AMQP over TLS, as registered with IANA.
const TLS_PORT: u16 = 5671;
/// The virtual host of RabbitMQ that exists without configuration.
const DEFAULT_VIRTUAL_HOST: &str = "/";

/// The address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::deliver) struct Endpoint {
    /// Whether the connection is encrypted.
    pub(in crate::deliver) tls: bool,
    /// The name or address of the host.
    pub(in crate::deliver) host: String,
    /// The TCP port.
    pub(in crate::deliver) port: u16,
    /// The virtual host; `None` if the URL has no path.
    virtual_host: Option<String>,
}

impl BrokerSettings {
    /// Checks a URL: of RabbitMQ with a virtual host, else of AMQP 1.0.
    ///
    /// # Errors
    ///
    /// Returns an error without the URL, which may hold a password.
    pub fn check_url(url: &str, virtual_host: bool) -> Result<(), SettingsError> {
        let endpoint = Endpoint::parse(url)?;
        if virtual_host { Ok(()) } else { endpoint.without_path().map(drop) }
    }
}

impl Endpoint {
    /// Parses the URL of settings.
    pub(in crate::deliver) fn parse(url: &str) -> Result<Self, SettingsError> {
        let url = Url::parse(url).map_err(|_| SettingsError::Url)?;
        let tls = match url.scheme() {
            "amqp" => false,
            "amqps" => true,
            _ => return Err(SettingsError::Url),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SettingsError::CredentialsInUrl);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(SettingsError::Query);
        }
        // An IPv6 address stands in brackets in a URL, and without them everywhere else.
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(SettingsError::Url);
        }
        let path = url.path().strip_prefix('/').unwrap_or_default();
        let virtual_host = percent_decode_str(path).decode_utf8().map_err(|_| SettingsError::VirtualHost)?;
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: url.port().unwrap_or(if tls { TLS_PORT } else { PORT }),
            virtual_host: (!virtual_host.is_empty()).then(|| virtual_host.into_owned()),
        })
    }

    /// The virtual host of RabbitMQ. A path without a name means the default one, because no virtual host has an empty name.
    pub(in crate::deliver) fn virtual_host(&self) -> &str {
        self.virtual_host.as_deref().unwrap_or(DEFAULT_VIRTUAL_HOST)
    }

    /// An error if the URL has a path.
    pub(in crate::deliver) fn without_path(self) -> Result<Self, SettingsError> {
        if self.virtual_host.is_some() { Err(SettingsError::Path) } else { Ok(self) }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("amqp://rabbitmq:5672", false, "rabbitmq", 5672, "/")]
    #[case("amqp://rabbitmq", false, "rabbitmq", 5672, "/")]
    #[case("amqps://mq.example.org/", true, "mq.example.org", 5671, "/")]
    #[case("amqp://127.0.0.1:1234/ort", false, "127.0.0.1", 1234, "ort")]
    #[case("amqp://[::1]:1234/%2Fa%20b", false, "::1", 1234, "/a b")]
    fn a_url_names_host_port_and_virtual_host(
        #[case] url: &str,
        #[case] tls: bool,
        #[case] host: &str,
        #[case] port: u16,
        #[case] virtual_host: &str,
    ) {
        let endpoint = Endpoint::parse(url).expect("valid");
        assert_eq!((endpoint.tls, endpoint.host.as_str(), endpoint.port), (tls, host, port));
        assert_eq!(endpoint.virtual_host(), virtual_host);
    }

    #[rstest]
    #[case("amqp://admin:admin@rabbitmq:5672", SettingsError::CredentialsInUrl)]
    #[case("amqp://admin@rabbitmq:5672", SettingsError::CredentialsInUrl)]
    #[case("amqp://:admin@rabbitmq:5672", SettingsError::CredentialsInUrl)]
    #[case("amqp://rabbitmq?heartbeat=0", SettingsError::Query)]
    #[case("amqp://rabbitmq/#a", SettingsError::Query)]
    #[case("http://rabbitmq", SettingsError::Url)]
    #[case("rabbitmq:5672", SettingsError::Url)]
    #[case("amqp:///ort", SettingsError::Url)]
    #[case("amqp://rabbitmq/%ff", SettingsError::VirtualHost)]
    fn other_urls_are_rejected_without_being_repeated(#[case] url: &str, #[case] expected: SettingsError) {
        assert_eq!(Endpoint::parse(url), Err(expected));
        assert!(!expected.to_string().contains("rabbitmq:"), "{expected}");
    }

    #[test]
    fn amqp_1_0_has_no_virtual_hosts() {
        let parsed = |url| Endpoint::parse(url).and_then(Endpoint::without_path);
        assert!(parsed("amqp://artemis:61616/").is_ok());
        assert_eq!(parsed("amqp://artemis:61616/queue"), Err(SettingsError::Path));
    }
}
