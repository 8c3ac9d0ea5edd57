//! Sends one beat to the reaper, over the open connection or a new one.

use jobwarden_common::beat::{Beat, BeatReply, BeatRequest};
use rustls::pki_types::ServerName;
use thiserror::Error;

use crate::{
    config::Config,
    connection::{Connection, ConnectionError},
    token::{TokenError, TokenFile},
    trust::{BundleError, Trust},
};

/// The reaper's address, how to authenticate both sides, and the open connection.
#[derive(Debug)]
pub(crate) struct Client {
    address: String,
    server_name: ServerName<'static>,
    trust: Trust,
    token: TokenFile,
    connection: Option<Connection>,
}

/// Why a beat failed.
#[derive(Debug, Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl Client {
    /// A client for the reaper of `config`. It connects with the first beat.
    pub(crate) fn new(config: Config) -> Self {
        let Config { address, server_name, bundle, interval: _, token_file } = config;
        Self { address, server_name, trust: Trust::new(bundle), token: TokenFile::new(token_file), connection: None }
    }

    /// Sends `beat` and returns the reply. After any error the next beat opens a new connection, which may reach another
    /// reaper.
    pub(crate) async fn send(&mut self, beat: Beat) -> Result<BeatReply, SendError> {
        let authorization = self.token.authorization()?;
        let mut connection = match self.connection.take().filter(Connection::is_open) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let reply = connection.post(&self.server_name, authorization, &BeatRequest { beats: vec![beat] }).await?;
        self.connection = Some(connection);
        Ok(reply)
    }

    /// Accepts a newer CA bundle, used from the next connection on.
    pub(crate) fn offer_ca(&mut self, pem: String) -> Result<(), BundleError> {
        self.trust.offer(pem)
    }

    /// Closes the connection, if one is open.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    async fn connect(&mut self) -> Result<Connection, ConnectionError> {
        let connected = Connection::open(&self.address, self.server_name.clone(), self.trust.tls()).await;
        match &connected {
            Ok(_) => self.trust.handshake_succeeded(),
            Err(ConnectionError::Handshake(error)) => self.trust.handshake_failed(error),
            Err(_) => {}
        }
        connected
    }
}
