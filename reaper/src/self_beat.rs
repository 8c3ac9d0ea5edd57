//! The leader's own beat: proof that a sidecar's beat would reach it.
//!
//! Each beat takes a connection of its own. A kept-alive one would prove only itself: once established it goes on past a
//! Service that has lost its endpoint, a network policy that has changed or a certificate that has expired.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jobwarden_common::{
    beat::{Beat, BeatRequest, Phase},
    names::route,
};
use jobwarden_core::health::SignalHealth;
use jobwarden_serve::tls::{TlsError, client_config};
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::observer::Observer;

/// Between two beats.
const EVERY: Duration = Duration::from_secs(5);

/// Between two attempts while deaf, or while there is nothing to prove.
const EVERY_WHILE_DEAF: Duration = Duration::from_secs(1);

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a sidecar would reach this reaper.
#[derive(Clone, Debug)]
pub struct SelfBeat {
    /// `host:port` of the Service.
    pub address: String,
    /// The DNS name that the certificate must carry.
    pub server_name: String,
    /// The reaper's own projected token, for the audience of beats; read anew for each.
    pub token_file: PathBuf,
    /// The CA bundle in force, PEM.
    pub ca: Arc<ArcSwapOption<String>>,
}

/// Why a beat did not arrive.
#[derive(Debug, thiserror::Error)]
enum SelfBeatError {
    #[error("there is no CA bundle yet")]
    NoCa,
    #[error("the CA bundle is of no use")]
    Ca(#[source] TlsError),
    #[error("{name:?} is no server name")]
    Name { name: String, source: InvalidDnsNameError },
    #[error("cannot read the token from {path}")]
    Token { path: PathBuf, source: std::io::Error },
    #[error("the token in {path} is none")]
    NoToken { path: PathBuf, source: header::InvalidHeaderValue },
    #[error("cannot connect to {address}")]
    Connect { address: String, source: std::io::Error },
    #[error("no TLS handshake with {address}")]
    Handshake { address: String, source: std::io::Error },
    #[error("the exchange broke off")]
    Exchange(#[source] hyper::Error),
    #[error("the answer was {0}")]
    Refused(StatusCode),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    TimedOut,
}

impl SelfBeat {
    /// LastBeat while this reaper leads; never returns. That a beat arrived is noted by the intake, wherever it came in.
    pub async fn run(self, observer: Observer) {
        let mut seq = 0;
        loop {
            if observer.is_listening() {
                if let Err(error) = timeout(PATIENCE, self.post(seq)).await.unwrap_or(Err(SelfBeatError::TimedOut)) {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(address = self.address, error, "the reaper's own beat does not arrive");
                }
                seq += 1;
            }
            let hears = observer.is_listening() && observer.health() != SignalHealth::NotReceiving;
            sleep(if hears { EVERY } else { EVERY_WHILE_DEAF }).await;
        }
    }

    async fn post(&self, seq: u64) -> Result<(), SelfBeatError> {
        let Self { address, server_name, token_file, ca } = self;
        let ca = ca.load_full().ok_or(SelfBeatError::NoCa)?;
        let tls = client_config(&ca).map_err(SelfBeatError::Ca)?;
        let name = ServerName::try_from(server_name.clone())
            .map_err(|source| SelfBeatError::Name { name: server_name.clone(), source })?;
        let authorization = self.authorization(tokio::fs::read_to_string(token_file).await)?;

        let tcp = TcpStream::connect(address)
            .await
            .map_err(|source| SelfBeatError::Connect { address: address.clone(), source })?;
        let stream = TlsConnector::from(Arc::new(tls))
            .connect(name, tcp)
            .await
            .map_err(|source| SelfBeatError::Handshake { address: address.clone(), source })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(SelfBeatError::Exchange)?;

        let beat = BeatRequest { beats: vec![Beat { seq, phase: Phase::Running }] };
        let body = serde_json::to_vec(&beat).expect("numbers and words always serialise");
        let mut request = Request::post(route::BEATS).body(Full::<Bytes>::from(body)).expect("the route is a path");
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("jobwarden-reaper"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers.insert(header::AUTHORIZATION, authorization);
        let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
        match sender.send_request(request).await.map_err(SelfBeatError::Exchange)?.status() {
            StatusCode::OK => Ok(()),
            refused => Err(SelfBeatError::Refused(refused)),
        }
    }

    fn authorization(&self, token: std::io::Result<String>) -> Result<HeaderValue, SelfBeatError> {
        let path = || self.token_file.clone();
        let token = token.map_err(|source| SelfBeatError::Token { path: path(), source })?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|source| SelfBeatError::NoToken { path: path(), source })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
