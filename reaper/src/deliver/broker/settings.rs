//! The settings of a sink that sends to a broker.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer};

use super::credentials::Credentials;

/// How to reach a queue of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerSettings {
    /// `amqp://host:port` or `amqps://host:port`; for RabbitMQ with the virtual host as path. Credentials are not permitted in it.
    pub url: String,
    /// The name of the queue, which must exist. With AMQP 1.0 it is the address of the target.
    pub queue: String,
    /// A file with lines `username=` and `password=`, or `rabbitMqUser=` and `rabbitMqPassword=` as in ORT Server's secrets. It is read for
    /// every connection. Default: RabbitMQ's `guest`, and SASL ANONYMOUS with AMQP 1.0.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// Credentials that came from the environment, where there is no file. Never a part of the configuration file.
    #[serde(skip)]
    pub credentials: Option<Credentials>,
    /// A PEM file with the CA certificates that the broker's certificate is verified with, read for every connection. Default: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take until it is ready, and how long the broker may take to acknowledge a message. Default: `10s`.
    #[serde(default = "ten_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
    /// The section of the AMQP 1.0 message that holds the body. Default: `value`. RabbitMQ's own protocol has no sections.
    #[serde(default)]
    pub body: Option<BodySection>,
}

/// The section of an AMQP 1.0 message that holds the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodySection {
    /// A string in the value section, which JMS clients read as `TextMessage`: Artemis.
    Value,
    /// Bytes in a data section: Azure Service Bus.
    Data,
}

/// Why the settings of a sink are not valid. Without the URL, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The URL cannot be parsed, has another scheme, or no host.
    #[error("invalid url; it must have the form amqp://host:port or amqps://host:port")]
    Url,
    /// The URL holds credentials, which would be shown with the configuration.
    #[error("the url must not contain credentials; write them to a file and set credentialsFile")]
    CredentialsInUrl,
    /// The URL has parts that this sink has no use for.
    #[error("the url must not have a query or a fragment")]
    Query,
    /// The URL has a path, and the protocol has no virtual hosts.
    #[error("the url of an AMQP 1.0 broker must not have a path; the address goes to queue")]
    Path,
    /// The virtual host is not valid UTF-8.
    #[error("the virtual host in the path of the url is not valid UTF-8")]
    VirtualHost,
    /// The name of the queue is empty or too long: AMQP 0-9-1 has 255 bytes for it.
    #[error("invalid queue; its name must have 1 to 255 bytes")]
    Queue,
    /// The timeout is zero.
    #[error("invalid timeout; it must be longer than 0s")]
    Timeout,
    /// RabbitMQ's own protocol has no sections.
    #[error("body is a setting of AMQP 1.0 brokers; remove it for RabbitMQ")]
    Body,
}

impl BrokerSettings {
    /// Checks what does not depend on the protocol, except the URL.
    pub(in crate::deliver) fn check(&self) -> Result<(), SettingsError> {
        if self.queue.is_empty() || self.queue.len() > usize::from(u8::MAX) {
            return Err(SettingsError::Queue);
        }
        if self.timeout.is_zero() {
            return Err(SettingsError::Timeout);
        }
        Ok(())
    }
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_url_and_a_queue_are_enough() {
        let settings: BrokerSettings = serde_saphyr::from_str("{url: 'amqp://b', queue: q}").expect("valid");
        let expected = BrokerSettings {
            url: "amqp://b".to_owned(),
            queue: "q".to_owned(),
            credentials_file: None,
            credentials: None,
            ca_file: None,
            timeout: Duration::from_secs(10),
            body: None,
        };
        assert_eq!(settings, expected);
        assert_eq!(settings.check(), Ok(()));
    }

    #[rstest]
    #[case("{url: u, queue: q, credentialsFile: /c, caFile: /a, timeout: 3s, body: data}", true)]
    #[case("{url: u, queue: q, body: value}", true)]
    #[case("{url: u, queue: q, body: text}", false)]
    #[case("{url: u, queue: q, timeout: soon}", false)]
    #[case("{url: u, queue: q, password: p}", false)]
    #[case("{url: u}", false)]
    fn settings_with_other_keys_or_values_are_rejected(#[case] text: &str, #[case] accepted: bool) {
        assert_eq!(serde_saphyr::from_str::<BrokerSettings>(text).is_ok(), accepted, "{text}");
    }

    #[rstest]
    #[case("", "1s", Err(SettingsError::Queue))]
    #[case("q", "0s", Err(SettingsError::Timeout))]
    #[case("q", "1s", Ok(()))]
    fn an_empty_queue_and_no_time_are_rejected(
        #[case] queue: &str,
        #[case] timeout: &str,
        #[case] expected: Result<(), SettingsError>,
    ) {
        let text = format!("{{url: 'amqp://b', queue: '{queue}', timeout: {timeout}}}");
        let settings: BrokerSettings = serde_saphyr::from_str(&text).expect("valid");
        assert_eq!(settings.check(), expected);
    }
}
