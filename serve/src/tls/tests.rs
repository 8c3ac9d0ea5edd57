use std::io;

use rstest::rstest;
use rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    issued::{Issued, NAME, issue},
    *,
};

/// The end-entity certificate that the server presents to a client which trusts `ca`.
async fn presented(config: &Arc<ServerConfig>, ca: &str) -> io::Result<Vec<u8>> {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let connector = TlsConnector::from(Arc::new(client_config(ca).expect("a usable CA")));
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    let name = ServerName::try_from(NAME).expect("a valid name");
    let (client, _server) = tokio::join!(connector.connect(name, client), acceptor.accept(server));
    let client = client?;
    let shown = client.get_ref().1.peer_certificates().expect("a server always shows one");
    Ok(shown[0].to_vec())
}

fn der(chain: &str) -> Vec<u8> {
    certificates(chain.as_bytes()).expect("valid PEM")[0].to_vec()
}

#[tokio::test]
async fn without_a_certificate_handshakes_fail() {
    let identity = ServerIdentity::new();
    assert_eq!(identity.not_after(), None);
    assert!(presented(&identity.server_config(), &issue().ca).await.is_err());
}

#[tokio::test]
async fn a_running_server_presents_a_replaced_certificate_from_the_next_handshake() {
    let (old, new) = (issue(), issue());
    let identity = ServerIdentity::new();
    let config = identity.server_config();
    identity.set_pem(&old.chain, &old.key).expect("a pair");
    assert_eq!(presented(&config, &old.ca).await.expect("trusted"), der(&old.chain));

    identity.set_pem(&new.chain, &new.key).expect("a pair");
    let bundle = format!("{}{}", old.ca, new.ca);
    assert_eq!(presented(&config, &bundle).await.expect("trusted"), der(&new.chain));
    assert!(presented(&config, &old.ca).await.is_err(), "the old CA did not sign the new certificate");
}

#[rstest]
#[case::of_another_key(|good: &Issued, other: &Issued| (good.chain.clone(), other.key.clone()))]
#[case::without_a_certificate(|good: &Issued, _: &Issued| (String::new(), good.key.clone()))]
#[case::without_a_key(|good: &Issued, _: &Issued| (good.chain.clone(), String::new()))]
#[case::half_written(|good: &Issued, _: &Issued| (good.chain[..good.chain.len() / 2].to_owned(), good.key.clone()))]
#[case::not_x509(|good: &Issued, _: &Issued| (
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), good.key.clone()))]
#[tokio::test]
async fn an_invalid_pair_is_rejected_and_the_previous_one_stays(
    #[case] spoil: fn(&Issued, &Issued) -> (String, String),
) {
    let (good, other) = (issue(), issue());
    let identity = ServerIdentity::new();
    identity.set_pem(&good.chain, &good.key).expect("a pair");
    let (chain, key) = spoil(&good, &other);
    assert!(identity.set_pem(chain, key).is_err());
    assert_eq!(presented(&identity.server_config(), &good.ca).await.expect("trusted"), der(&good.chain));
}

#[test]
fn the_expiry_is_that_of_the_leaf_certificate() {
    let issued = issue();
    let identity = ServerIdentity::new();
    identity.set_pem(&issued.chain, &issued.key).expect("a pair");
    assert_eq!(identity.not_after().expect("a certificate").to_string(), "2040-01-01T00:00:00Z");
}

#[rstest]
#[case("")]
#[case("no PEM at all")]
#[case("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")]
fn a_bundle_without_a_usable_certificate_is_rejected(#[case] ca: &str) {
    assert!(client_config(ca).is_err());
}
