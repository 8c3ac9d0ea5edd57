//! Gets one beat to the reaper, over the connection at hand or a new one.

use jobwarden_common::beat::{Beat, BeatReply, BeatRequest};
use rustls::pki_types::ServerName;
use thiserror::Error;

use crate::{
    config::Config,
    line::{Line, LineError},
    token::{TokenError, TokenFile},
    trust::{BundleError, Trust},
};

/// Everything a beat needs on its way.
#[derive(Debug)]
pub(crate) struct Post {
    address: String,
    server_name: ServerName<'static>,
    trust: Trust,
    token: TokenFile,
    line: Option<Line>,
}

/// Why a beat was not answered.
#[derive(Debug, Error)]
pub(crate) enum PostError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Line(#[from] LineError),
}

impl Post {
    /// Takes what it needs of `config`. Nothing is dialled yet.
    pub(crate) fn new(config: Config) -> Self {
        let Config { address, server_name, bundle, interval: _, token_file } = config;
        Self { address, server_name, trust: Trust::new(bundle), token: TokenFile::new(token_file), line: None }
    }

    /// Sends `beat` and gives the reply. After any error the next beat goes over a new connection, which may lead to
    /// another reaper.
    pub(crate) async fn send(&mut self, beat: Beat) -> Result<BeatReply, PostError> {
        let authorization = self.token.authorization()?;
        let mut line = match self.line.take().filter(Line::is_open) {
            Some(line) => line,
            None => self.open().await?,
        };
        let reply = line.post(&self.server_name, authorization, &BeatRequest { beats: vec![beat] }).await?;
        self.line = Some(line);
        Ok(reply)
    }

    /// Takes a newer CA bundle, to be used from the next connection on.
    pub(crate) fn trust(&mut self, pem: String) -> Result<(), BundleError> {
        self.trust.offer(pem)
    }

    /// Closes the connection, if there is one.
    pub(crate) fn hang_up(&mut self) {
        self.line = None;
    }

    async fn open(&mut self) -> Result<Line, LineError> {
        let opened = Line::open(&self.address, self.server_name.clone(), self.trust.tls()).await;
        match &opened {
            Ok(_) => self.trust.proved(),
            Err(LineError::Handshake(error)) => self.trust.failed(error),
            Err(_) => {}
        }
        opened
    }
}
