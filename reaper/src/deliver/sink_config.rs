//! The configuration of a sink: what it receives, in which format, over which transport, and for how long it is tried.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};

use super::{
    broker::BrokerSettings,
    duration::duration,
    filter::Filter,
    format::{Format, OrtServer},
    http::HttpSettings,
    queue::CONCURRENCY,
};

/// The default of `giveUpAfter`.
const A_DAY: Duration = Duration::from_hours(24);
/// The most attempts that a sink may make at a time: each is a connection of an HTTP receiver.
const MAX_CONCURRENCY: usize = 64;
/// The longest name of a sink: a label value of metrics, and a list key in statuses.
const MAX_NAME: usize = 63;

/// A receiver of notifications.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkConfig {
    /// The name in statuses, metrics and logs.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// The format of its notifications.
    pub format: Format,
    /// The outcomes that it receives.
    pub filter: Filter,
    /// The age of an outcome at which a delivery that was not acknowledged is given up.
    pub expire_after: Duration,
    /// The attempts that run at a time. With one, a receiver gets the outcomes in the order in which they were recorded, except those that
    /// are repeated.
    pub concurrency: usize,
    /// The sink that receives what this one has given up.
    pub dead_letter_to: Option<String>,
}

/// How a sink is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Transport {
    /// `type: http`, the default.
    Http(HttpSettings),
    /// `type: rabbitmq`: AMQP 0-9-1.
    RabbitMq(BrokerSettings),
    /// `type: amqp`: AMQP 1.0, such as Artemis, Azure Service Bus and RabbitMQ 4.
    Amqp(BrokerSettings),
}

/// Why a sink is not valid.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The name is not valid or not unique.
    #[error("invalid or duplicate sink name {0:?}: use 1 to 63 characters of a-z, 0-9 and -, unique per sink")]
    Name(String),
    /// The settings are not valid.
    #[error("sink {sink}: {problem}")]
    Settings {
        /// The name of the sink.
        sink: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// A sink as it is written: what all have in common, and beside it the settings of its transport.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    name: String,
    #[serde(default, rename = "type")]
    transport: TransportType,
    #[serde(default)]
    format: FormatName,
    #[serde(default)]
    ort_server: Option<OrtServer>,
    #[serde(default)]
    filter: Filter,
    #[serde(rename = "giveUpAfter", default = "a_day", deserialize_with = "duration")]
    expire_after: Duration,
    #[serde(default = "concurrency")]
    concurrency: usize,
    #[serde(default)]
    dead_letter_to: Option<String>,
    #[serde(flatten)]
    settings: Map<String, Value>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TransportType {
    #[default]
    Http,
    RabbitMq,
    Amqp,
}

#[derive(Clone, Copy, Default, Deserialize)]
enum FormatName {
    #[default]
    #[serde(rename = "cloudevents")]
    CloudEvents,
    #[serde(rename = "cloudevents-binary")]
    CloudEventsBinary,
    #[serde(rename = "ort-server")]
    OrtServer,
}

impl<'de> Deserialize<'de> for SinkConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written {
            name,
            transport,
            format,
            ort_server,
            filter,
            expire_after,
            concurrency,
            dead_letter_to,
            settings,
        } = Written::deserialize(deserializer)?;
        let of_sink = |error: &dyn std::fmt::Display| D::Error::custom(format!("sink {name}: {error}"));
        if ort_server.is_some() && !matches!(format, FormatName::OrtServer) {
            return Err(of_sink(&"ortServer needs format: ort-server"));
        }
        let settings = Value::Object(settings);
        let transport = match transport {
            TransportType::Http => HttpSettings::deserialize(settings).map(Transport::Http),
            TransportType::RabbitMq => BrokerSettings::deserialize(settings).map(Transport::RabbitMq),
            TransportType::Amqp => BrokerSettings::deserialize(settings).map(Transport::Amqp),
        };
        let transport = transport.map_err(|error| of_sink(&error))?;
        let format = match format {
            FormatName::CloudEvents => Format::CloudEvents,
            FormatName::CloudEventsBinary => Format::CloudEventsBinary,
            FormatName::OrtServer => Format::OrtServer(ort_server.unwrap_or_default()),
        };
        Ok(Self { name, transport, format, filter, expire_after, concurrency, dead_letter_to })
    }
}

/// Checks what no sink shows alone, and what its fields do not ensure.
pub(super) fn check(sinks: &[SinkConfig]) -> Result<(), SinkError> {
    let mut names = BTreeSet::new();
    for sink in sinks {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let valid = !sink.name.is_empty() && sink.name.len() <= MAX_NAME && sink.name.bytes().all(plain);
        if !valid || !names.insert(sink.name.as_str()) {
            return Err(SinkError::Name(sink.name.clone()));
        }
    }
    for sink in sinks {
        let invalid = |problem: String| SinkError::Settings { sink: sink.name.clone(), problem };
        if !(1..=MAX_CONCURRENCY).contains(&sink.concurrency) {
            return Err(invalid(format!("concurrency is {}; expected 1 to {MAX_CONCURRENCY}", sink.concurrency)));
        }
        if let Some(problem) = sink.filter.problem() {
            return Err(invalid(format!("filter: {problem}")));
        }
        if matches!((&sink.format, &sink.transport), (Format::OrtServer(_), Transport::Http(_))) {
            return Err(invalid("ORT Server reads a broker, not HTTP: set type to rabbitmq or amqp".to_owned()));
        }
        match &sink.dead_letter_to {
            Some(target) if *target == sink.name => {
                return Err(invalid("deadLetterTo names the sink itself".to_owned()));
            }
            Some(target) if !names.contains(target.as_str()) => {
                return Err(invalid(format!("deadLetterTo names {target}, and there is no sink of this name")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn a_day() -> Duration {
    A_DAY
}

fn concurrency() -> usize {
    CONCURRENCY
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rstest::rstest;

    use super::*;
    use crate::deliver::Config;

    fn parse(sinks: &str) -> Result<Vec<SinkConfig>, String> {
        let parsed = Config::parse(&format!("sinks: {sinks}"), Path::new("reaper.yaml"));
        parsed.map(|config| config.sinks).map_err(|error| jobwarden_serve::logs::with_causes(&error))
    }

    #[test]
    fn a_sink_needs_a_name_and_a_url_only() {
        let sink = parse("[{name: ort, url: 'http://ort.example/hooks'}]").expect("valid").remove(0);
        let SinkConfig { name, transport, format, filter, expire_after, concurrency, dead_letter_to } = sink;
        assert_eq!(
            (name.as_str(), format, filter, dead_letter_to),
            ("ort", Format::CloudEvents, Filter::default(), None)
        );
        assert_eq!((expire_after, concurrency), (Duration::from_hours(24), CONCURRENCY));
        assert!(matches!(transport, Transport::Http(settings) if settings.url == "http://ort.example/hooks"));
    }

    #[test]
    fn every_transport_and_format_can_be_set() {
        let text = "[{name: a, url: 'https://a', format: cloudevents-binary, giveUpAfter: 2h, timeout: 3s, deadLetterTo: b},
                     {name: b, type: rabbitmq, url: 'amqp://b', queue: q, format: ort-server, filter: {kinds: [failed]}},
                     {name: c, type: amqp, url: 'amqps://c', queue: q, body: data, concurrency: 1}]";
        let sinks = parse(text).expect("valid");
        assert_eq!((sinks[0].expire_after, sinks[0].dead_letter_to.as_deref()), (Duration::from_hours(2), Some("b")));
        assert_eq!(sinks[0].format, Format::CloudEventsBinary);
        assert!(
            matches!(sinks[1].transport, Transport::RabbitMq(_)) && matches!(sinks[1].format, Format::OrtServer(_))
        );
        assert!(matches!(sinks[2].transport, Transport::Amqp(_)) && sinks[2].concurrency == 1);
    }

    #[rstest]
    #[case::unknown_field("[{name: a, url: 'http://a', colour: red}]", "colour")]
    #[case::unknown_type("[{name: a, type: smoke, url: 'http://a'}]", "smoke")]
    #[case::unknown_format("[{name: a, url: 'http://a', format: smoke}]", "smoke")]
    #[case::bad_duration("[{name: a, url: 'http://a', giveUpAfter: soon}]", "soon")]
    #[case::no_attempts("[{name: a, url: 'http://a', concurrency: 0}]", "concurrency is 0; expected 1 to 64")]
    #[case::too_many_attempts("[{name: a, url: 'http://a', concurrency: 65}]", "concurrency is 65; expected 1 to 64")]
    #[case::a_queue_over_http("[{name: a, url: 'http://a', queue: q}]", "queue")]
    #[case::no_queue("[{name: a, type: rabbitmq, url: 'amqp://a'}]", "queue")]
    #[case::bad_name("[{name: A/b, url: 'http://a'}]", "invalid or duplicate sink name")]
    #[case::empty_name("[{name: '', url: 'http://a'}]", "invalid or duplicate sink name")]
    #[case::same_name("[{name: a, url: 'http://a'}, {name: a, url: 'http://b'}]", "invalid or duplicate sink name")]
    #[case::ort_over_http("[{name: a, url: 'http://a', format: ort-server}]", "set type to rabbitmq or amqp")]
    #[case::ort_settings("[{name: a, url: 'http://a', ortServer: {}}]", "ortServer needs format: ort-server")]
    #[case::empty_filter("[{name: a, url: 'http://a', filter: {kinds: []}}]", "kinds is empty")]
    #[case::unknown_kind("[{name: a, url: 'http://a', filter: {kinds: [smoke]}}]", "smoke")]
    #[case::its_own_dead_letters("[{name: a, url: 'http://a', deadLetterTo: a}]", "names the sink itself")]
    #[case::dead_letters_to_nobody("[{name: a, url: 'http://a', deadLetterTo: b}]", "there is no sink of this name")]
    fn an_invalid_sink_is_rejected_with_what_is_wrong(#[case] sinks: &str, #[case] expected: &str) {
        let error = parse(sinks).expect_err("invalid");
        assert!(error.contains(expected), "{error}");
    }
}
