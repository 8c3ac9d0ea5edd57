//! From settings to a connection below the protocol.

use std::path::PathBuf;

use super::{
    connect::{ConnectError, connect},
    credentials::{Credentials, read_credentials},
    endpoint::Endpoint,
    stream::{BrokerStream, Disconnector},
};

/// How to reach a broker.
#[derive(Debug)]
pub(in crate::deliver) struct Dialer {
    pub(in crate::deliver) endpoint: Endpoint,
    pub(in crate::deliver) credentials_file: Option<PathBuf>,
    /// What applies without a file.
    pub(in crate::deliver) credentials: Option<Credentials>,
    pub(in crate::deliver) ca_file: Option<PathBuf>,
}

/// A connection before the login, and the credentials for it.
pub(in crate::deliver) struct Dialed {
    pub(in crate::deliver) stream: BrokerStream,
    pub(in crate::deliver) disconnector: Disconnector,
    pub(in crate::deliver) credentials: Option<Credentials>,
}

impl Dialer {
    /// Reads the files and opens a connection. The caller bounds the time.
    pub(in crate::deliver) async fn dial(&self) -> Result<Dialed, ConnectError> {
        let credentials = match &self.credentials_file {
            Some(path) => Some(read_credentials(path).await?),
            None => self.credentials.clone(),
        };
        let (stream, disconnector) = connect(&self.endpoint, self.ca_file.as_deref()).await?;
        Ok(Dialed { stream, disconnector, credentials })
    }
}
