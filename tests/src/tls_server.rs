//! An HTTPS server with its own certificate, whose responses a test provides.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running server. It stops when this is dropped.
pub struct TlsServer {
    address: String,
    ca: String,
    _running: DropGuard,
}

impl TlsServer {
    /// Serves on `listener` as `name`, a DNS name or an IP address. `answer` turns the body of a request into that of the response.
    pub fn start(
        listener: TcpListener,
        name: &str,
        answer: impl Fn(Bytes) -> Vec<u8> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        jobwarden_testbed::install_crypto_provider();
        let address = listener.local_addr().context("reading the listener's address")?.to_string();
        let (ca, config) = identity(name)?;
        listener.set_nonblocking(true).context("preparing the socket")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("preparing the socket")?;
        let stop = CancellationToken::new();
        let serving = serve(listener, TlsAcceptor::from(Arc::new(config)), Arc::new(answer), stop.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
        Ok(Self { address, ca, _running: stop.drop_guard() })
    }

    /// Its address, `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The CA certificate of its certificate, PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }
}

fn identity(name: &str) -> anyhow::Result<(String, ServerConfig)> {
    let key = KeyPair::generate().context("generating a key")?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).context("creating a CA certificate")?.pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().context("generating a key")?;
    let leaf =
        CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &issuer).context("creating a certificate")?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key)?;
    Ok((authority, config))
}

async fn serve(
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
    answer: Arc<impl Fn(Bytes) -> Vec<u8> + Send + Sync + 'static>,
    stop: CancellationToken,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request: Request<Incoming>| {
                let answer = Arc::clone(&answer);
                async move {
                    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answer(body.unwrap_or_default())))))
                }
            });
            // After a broken connection the client reconnects.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }));
    }
}
