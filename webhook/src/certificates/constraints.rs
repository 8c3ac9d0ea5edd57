//! Name constraints of an authority: nobody accepts a certificate that it signs for a name outside the Services of one namespace.
//!
//! webpki (sidecars, agents, this webhook) and Go (the API server) verify them, also those of a trusted root. [RFC 5280, 4.2.1.10]
//!
//! [RFC 5280, 4.2.1.10]: https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.10

use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, GeneralSubtree as Subtree},
};

/// The domain of the Services of `namespace`.
pub(super) fn domain_of(namespace: &str) -> String {
    format!("{namespace}.svc")
}

/// The constraints of an authority for the Services of `namespace`: names below their domain, and no IP address. Names of a kind that
/// is not mentioned are not constrained, so that IP addresses have to be excluded.
pub(super) fn name_constraints(namespace: &str) -> NameConstraints {
    let addresses = [CidrSubnet::V4([0; 4], [0; 4]), CidrSubnet::V6([0; 16], [0; 16])];
    NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(domain_of(namespace))],
        excluded_subtrees: addresses.map(GeneralSubtree::IpAddress).into(),
    }
}

/// The domain that `authority` is constrained to by [`name_constraints`]; `None` if it has none, or others.
pub(super) fn domain(authority: &X509Certificate<'_>) -> Option<String> {
    let extension = authority.name_constraints().ok()??;
    let [Subtree { base: GeneralName::DNSName(domain) }] = extension.value.permitted_subtrees.as_deref()? else {
        return None;
    };
    let excluded = extension.value.excluded_subtrees.as_deref()?;
    // An address and its mask, both zero.
    let excludes =
        |bytes: &[u8]| excluded.iter().any(|it| matches!(&it.base, GeneralName::IPAddress(base) if *base == bytes));
    (extension.critical && excludes(&[0; 8]) && excludes(&[0; 32])).then(|| (*domain).to_owned())
}
