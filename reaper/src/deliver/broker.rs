//! What the sinks of both AMQP protocols share: settings, credentials and the stream below the protocol.

use std::time::Duration;

mod connect;
mod credentials;
mod dial;
mod endpoint;
mod settings;
mod shared;
mod stream;

pub use self::{
    connect::ConnectError,
    credentials::{Credentials, CredentialsError},
    settings::{BodySection, BrokerSettings, SettingsError},
};
pub(super) use self::{
    dial::{Dialed, Dialer},
    endpoint::Endpoint,
    shared::Shared,
    stream::{BrokerStream, Disconnector},
};

/// How many messages are sent at once over one connection.
pub(super) const CONCURRENT_SENDS: usize = 8;

/// How often a peer is asked for a sign of life. Both protocols give a connection up after twice this time without one.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);

/// Before the names of `CloudEvents` attributes. The AMQP binding 1.0.2, section 3.1.3.1, prefers the underscore, because JMS permits no
/// colon in the name of a property.
const EVENT_PREFIX: &str = "cloudEvents_";

/// The attributes of an event as headers or application properties. The content type stands in a property of the message itself.
pub(super) fn event_headers<'a>(
    event: &'a [(&'static str, String)],
) -> impl Iterator<Item = (String, &'a str)> + use<'a> {
    event
        .iter()
        .filter(|(name, _)| *name != "datacontenttype")
        .map(|(name, value)| (format!("{EVENT_PREFIX}{name}"), value.as_str()))
}
