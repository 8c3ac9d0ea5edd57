//! Certificates of receivers and of the sink.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
};

use super::*;

/// A certificate authority.
pub(super) struct Authority {
    /// Its certificate.
    pub(super) ca: NamedTempFile,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("P-256 is supported");
        let ca = file(&params.self_signed(&key).expect("a valid certificate").pem());
        Self { ca, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `name` and its key, in files.
    fn issue(&self, name: &str) -> (NamedTempFile, NamedTempFile) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a valid name");
        let key = KeyPair::generate().expect("P-256 is supported");
        let certificate = params.signed_by(&key, &self.issuer).expect("a valid certificate").pem();
        (file(&certificate), file(&key.serialize_pem()))
    }

    /// A receiver `localhost` with a certificate of this authority, which demands one of it from its clients.
    async fn receiver(&self) -> Receiver {
        install_crypto_provider();
        let (certificate, key) = self.issue("localhost");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca.path()).expect("a certificate")).expect("a valid one");
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("there is a CA");
        let chain = vec![CertificateDer::from_pem_file(certificate.path()).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(key.path()).expect("a key");
        let config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key);
        let tls = TlsAcceptor::from(Arc::new(config.expect("a pair")));
        Receiver::answering(Some((200, "x-none", "")), Some(tls)).await
    }

    /// The settings of a sink that trusts this authority.
    fn settings(&self, receiver: &Receiver) -> HttpSettings {
        let url = format!("url: 'https://localhost:{}/'", receiver.addr.port());
        HttpSettings { ca_file: Some(path(&self.ca)), ..settings(&url) }
    }
}

#[tokio::test]
async fn a_ca_file_that_is_replaced_is_read_again_after_a_failed_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut receiver = new.receiver().await;
    let (certificate, key) = new.issue("jobwarden");
    let sink = sink(&HttpSettings {
        client_cert_file: Some(path(&certificate)),
        client_key_file: Some(path(&key)),
        ca_file: Some(path(&old.ca)),
        ..new.settings(&receiver)
    });
    let message = message();
    sink.send(&message, Timestamp::now()).await.expect_err("the receiver's certificate is of another CA");
    std::fs::copy(new.ca.path(), old.ca.path()).expect("writable");
    sink.send(&message, Timestamp::now()).await.expect_err("the attempt that notices");
    sink.send(&message, Timestamp::now()).await.expect("acknowledged");
    assert_eq!(receiver.next().await.headers["webhook-id"], "1111.final");
}

#[tokio::test]
async fn a_receiver_that_demands_a_client_certificate_gets_it() {
    let authority = Authority::new();
    let mut receiver = authority.receiver().await;
    let (certificate, key) = authority.issue("jobwarden");
    let with_certificate = HttpSettings {
        client_cert_file: Some(path(&certificate)),
        client_key_file: Some(path(&key)),
        ..authority.settings(&receiver)
    };
    send(&with_certificate).await.expect("acknowledged");
    assert_eq!(receiver.next().await.headers["webhook-id"], "1111.final");

    let error = send(&authority.settings(&receiver)).await.expect_err("no certificate");
    assert_eq!(error.fault(), Fault::Sink);
    assert!(receiver.is_empty());
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_is_refused_by_the_receiver() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut receiver = authority.receiver().await;
    let (certificate, key) = other.issue("jobwarden");
    let settings = HttpSettings {
        client_cert_file: Some(path(&certificate)),
        client_key_file: Some(path(&key)),
        ..authority.settings(&receiver)
    };
    assert_eq!(send(&settings).await.expect_err("refused").fault(), Fault::Sink);
    assert!(receiver.is_empty());
}

#[tokio::test]
async fn a_receiver_with_a_certificate_of_another_authority_gets_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut receiver = authority.receiver().await;
    let settings = HttpSettings { ca_file: Some(path(&other.ca)), ..authority.settings(&receiver) };
    let error = send(&settings).await.expect_err("not trusted");
    assert!(shown(&error).contains("invalid peer certificate"), "{}", shown(&error));
    assert!(receiver.is_empty());
}

#[rstest]
#[case::ca_missing("caFile: /nowhere/ca", "cannot read caFile /nowhere/ca: No such file")]
#[case::ca_empty("caFile: <EMPTY>", "caFile <EMPTY> is not valid: the file has no certificate")]
#[case::certificate_missing(
    "caFile: <CA>, clientCertFile: /nowhere/cert, clientKeyFile: <KEY>",
    "cannot read clientCertFile /nowhere/cert: No such file"
)]
#[case::key_missing(
    "caFile: <CA>, clientCertFile: <CERT>, clientKeyFile: /nowhere/key",
    "cannot read clientKeyFile /nowhere/key: No such file"
)]
#[case::no_key(
    "caFile: <CA>, clientCertFile: <CERT>, clientKeyFile: <EMPTY>",
    "clientCertFile <CERT> or clientKeyFile <EMPTY> is not valid: "
)]
#[case::no_certificate(
    "caFile: <CA>, clientCertFile: <EMPTY>, clientKeyFile: <KEY>",
    "clientCertFile <EMPTY> or clientKeyFile <KEY> is not valid: "
)]
#[case::key_of_another(
    "caFile: <CA>, clientCertFile: <CERT>, clientKeyFile: <OTHER>",
    "clientCertFile <CERT> or clientKeyFile <OTHER> is not valid: "
)]
fn an_invalid_file_is_named(#[case] yaml: &str, #[case] expected: &str) {
    install_crypto_provider();
    let authority = Authority::new();
    let ((certificate, key), (_, other), empty) = (authority.issue("a"), authority.issue("b"), file(""));
    let named = |text: &str| {
        let files = [
            ("<CA>", &authority.ca),
            ("<CERT>", &certificate),
            ("<KEY>", &key),
            ("<OTHER>", &other),
            ("<EMPTY>", &empty),
        ];
        files.iter().fold(text.to_owned(), |text, (name, file)| text.replace(name, &file.path().display().to_string()))
    };
    let yaml = named(&format!("{{url: 'https://a', {yaml}}}"));
    let error = HttpSink::new(&settings(&yaml)).expect_err("invalid");
    assert!(shown(&error).starts_with(&named(expected)), "{}", shown(&error));
}
