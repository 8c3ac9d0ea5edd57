//! A server that reads a review and allows it without parsing it, on the same hyper, rustls, runtime and allocator as the webhook:
//! the baseline that the webhook is measured against.
//!
//! `floor <ip:port>` writes the PEM of its CA to standard output and serves until it is killed.

#![allow(clippy::print_stdout)]

use std::{convert::Infallible, env, sync::Arc};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use mimalloc::MiMalloc;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The webhook's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The name in its certificate.
const NAME: &str = "jobwarden-webhook.jobwarden.svc";

const ALLOWED: &[u8] = br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"705ab4f5-6393-11e8-b7cc-42010a800002","allowed":true}}"#;

/// On one thread, as the webhook.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    jobwarden_serve::tls::install_crypto_provider();
    let address = env::args().nth(1).context("usage: floor <ip:port>")?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
    let pair = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], pair)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(&address).await.with_context(|| format!("listening on {address}"))?;
    // Its last line is the last that is written: its reader may stop reading there.
    print!("{}", certificate.pem());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            // A connection that breaks is the client's to renew.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(allow)).await;
        });
    }
}

async fn allow(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // What is read is thrown away, which is less than anybody can do who looks at it.
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let mut response = Response::new(Full::new(Bytes::from_static(ALLOWED)));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}
