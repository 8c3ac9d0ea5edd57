//! A server that takes beats over TLS and counts them, and asks for the next one very soon: for measuring sidecars.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jobwarden_common::beat::{BeatReply, BeatRequest, Command};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

const NAME: &str = "beats.test";

/// A running server; it stops when this is dropped.
pub struct BeatServer {
    address: String,
    ca: String,
    beats: watch::Receiver<u64>,
    _running: DropGuard,
}

impl BeatServer {
    /// Serves on `listener` with a certificate of its own; asks for the next beat after `interval`.
    pub fn start(listener: TcpListener, interval: Duration) -> anyhow::Result<Self> {
        crate::cluster::install_crypto_provider();
        let address = listener.local_addr().context("asking for the address")?.to_string();
        let (ca, config) = identity()?;
        listener.set_nonblocking(true).context("preparing the socket")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("preparing the socket")?;
        let (count, beats) = watch::channel(0);
        let stop = CancellationToken::new();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let serving = serve(listener, acceptor, Arc::new(count), interval, stop.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
        Ok(Self { address, ca, beats, _running: stop.drop_guard() })
    }

    /// `host:port` to dial.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The name in its certificate.
    pub fn name(&self) -> &str {
        NAME
    }

    /// Its CA, PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// Waits until this many beats have come.
    pub async fn wait_for_beats(&self, wanted: u64, patience: Duration) -> anyhow::Result<()> {
        let mut beats = self.beats.clone();
        let waiting = beats.wait_for(|beats| *beats >= wanted);
        let waited = tokio::time::timeout(patience, waiting).await.map(|outcome| outcome.map(|_| ()));
        waited.with_context(|| format!("only {} beats came", *self.beats.borrow()))?.context("the server has stopped")
    }
}

fn identity() -> anyhow::Result<(String, ServerConfig)> {
    let key = KeyPair::generate().context("making a key")?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).context("making an authority")?.pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().context("making a key")?;
    let leaf =
        CertificateParams::new(vec![NAME.to_owned()])?.signed_by(&key, &issuer).context("making a certificate")?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key)?;
    Ok((authority, config))
}

async fn serve(
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
    count: Arc<watch::Sender<u64>>,
    interval: Duration,
    stop: CancellationToken,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| {
                let count = Arc::clone(&count);
                async move { Ok::<_, Infallible>(take(request, &count, interval).await) }
            });
            // A connection that breaks is the sidecar's to renew.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }));
    }
}

async fn take(request: Request<Incoming>, count: &watch::Sender<u64>, interval: Duration) -> Response<Full<Bytes>> {
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if let Ok(BeatRequest { beats }) = serde_json::from_slice(&body) {
        count.send_modify(|count| *count += beats.len() as u64);
    }
    let next_in_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    let reply = BeatReply { next_in_ms, command: Command::Continue, ca: None };
    let reply = serde_json::to_vec(&reply).expect("a reply has no map with odd keys");
    Response::new(Full::new(reply.into()))
}
