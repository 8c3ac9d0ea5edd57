//! Certificates for tests.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

/// The name that every certificate here is for.
pub(crate) const NAME: &str = "jobwarden.test";

/// A certificate authority and one leaf that it has signed, all PEM.
pub(crate) struct Issued {
    pub(crate) ca: String,
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// A fresh authority and a leaf that is valid to the end of 2039.
pub(crate) fn issue() -> Issued {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("P-256 is supported");
    let ca = params.self_signed(&ca_key).expect("a valid certificate").pem();
    let issuer = Issuer::new(params, ca_key);

    let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("a valid name");
    params.not_after = date_time_ymd(2040, 1, 1);
    let key = KeyPair::generate().expect("P-256 is supported");
    let chain = params.signed_by(&key, &issuer).expect("a valid certificate").pem();
    Issued { ca, chain, key: key.serialize_pem() }
}
